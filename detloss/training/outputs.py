"""The files of a run that are written once: config, report of the data, final numbers, predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from detloss.training.data.coco import Annotations
from detloss.training.data.dataset import DetectionDataset
from detloss.training.evaluation import Detections
from detloss.training.folder import remove_parts, write_text
from detloss.training.settings import TrainConfig, as_plain

__all__ = ["final_metrics", "write_predictions", "write_start"]

log = logging.getLogger(__name__)


def write_start(folder: Path, config: TrainConfig, datasets: Mapping[str, DetectionDataset]) -> None:
    """Write the resolved config, report what of the data is not used, and clear what a killed run left half done.

    Args:
        folder: The run's folder.
        config: The resolved config.
        datasets: Data sets by split.
    """
    remove_parts(folder)
    if not (folder / "last.ckpt").exists():  # killed before its first checkpoint: it starts anew
        (folder / "metrics.jsonl").unlink(missing_ok=True)
    write_text(folder / "config.yaml", yaml.safe_dump(as_plain(config), sort_keys=False, allow_unicode=True))
    left_out = [str(entry) for data in datasets.values() for entry in data.left_out]
    if left_out:
        report = folder / "left_out.txt"
        write_text(report, "\n".join(left_out) + "\n")
        log.warning("%d annotations are skipped (all in %s); the first: %s", len(left_out), report, left_out[0])


def write_predictions(path: Path, detections: Iterable[Detections], known: Annotations) -> None:
    """Write detections as COCO results with the annotation file's own ids.

    Args:
        path: The JSON file.
        detections: What was found, picture by picture.
        known: The annotations of these pictures.
    """
    results = [
        {
            "image_id": known.image_ids[found.image_id - 1],
            "category_id": known.category_ids[label - 1],
            "bbox": [round(value, 2) for value in (*box[:2], box[2] - box[0], box[3] - box[1])],
            "score": round(score, 5),
        }
        for found in detections
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ]
    write_text(path, json.dumps(results))


def final_metrics(lines: Sequence[Mapping[str, Any]], test: Mapping[str, float]) -> dict[str, Any]:
    """COCO's numbers and losses of the best and the last evaluation with their epochs, and COCO's on the test data.

    Args:
        lines: The run's metrics file.
        test: Empty where there is no test data.
    """
    evaluations = [line for line in lines if "val/AP" in line]
    metrics: dict[str, Any] = {
        "best": _numbers(max(evaluations, key=lambda line: float(line["val/AP"]))),
        "last": _numbers(evaluations[-1]),
    }
    return {**metrics, "test": dict(test)} if test else metrics


def _numbers(line: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key.removeprefix("val/"): value for key, value in line.items() if key.startswith("val/")}
    return {"epoch": line["epoch"], **numbers}
