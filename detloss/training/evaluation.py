"""COCO average precision of detections, computed by hotcoco (the same numbers as pycocotools)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hotcoco import COCO, COCOeval
from torch import Tensor

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers in their order; -1 where the ground truth has no object to measure on."""
_TRUTH = ("image_id", "category_id", "bbox", "area", "iscrowd")
"""What box metrics need of an annotation; a segmentation may hold anything."""


@dataclass(frozen=True)
class Detections:
    """What a model found in one picture, on the CPU."""

    image_id: int
    boxes: npt.NDArray[np.float32]
    """``(N, 4)`` x1, y1, x2, y2 in pixels of the picture."""
    scores: npt.NDArray[np.float32]
    """``(N,)``"""
    labels: npt.NDArray[np.int64]
    """``(N,)`` from 1."""

    @classmethod
    def from_output(cls, image_id: int, output: Mapping[str, Tensor]) -> Detections:
        """Take boxes, scores and labels from a torchvision detector's output for one picture."""
        boxes, scores, labels = (output[key].detach().cpu() for key in ("boxes", "scores", "labels"))
        return cls(image_id, boxes.float().numpy(), scores.float().numpy(), labels.numpy())

    def rows(self) -> npt.NDArray[np.float64]:
        """``(N, 7)``: image_id, x, y, width, height, score, label, as COCO results are."""
        boxes = self.boxes.astype(np.float64)
        image_ids = np.full(len(boxes), self.image_id, dtype=np.float64)
        return np.column_stack([image_ids, boxes[:, :2], boxes[:, 2:] - boxes[:, :2], self.scores, self.labels])


def evaluate_boxes(coco: Mapping[str, Any], detections: Iterable[Detections]) -> dict[str, float]:
    """Measure boxes against ground truth, on the pictures that have an entry in `detections`.

    Args:
        coco: Ground truth as a COCO dictionary with integer ids; crowd boxes are treated as COCO does.
        detections: One entry a picture, with the dictionary's image ids and category ids; it may hold no box.

    Returns:
        `METRICS` and ``AP/<category>`` for each category; -1 where there is nothing to measure on.
    """
    detections = list(detections)
    seen = {entry.image_id for entry in detections}
    annotations = [entry for entry in coco["annotations"] if entry["image_id"] in seen]
    # What else a dictionary of a user's own holds may be anything, and its annotation ids may repeat.
    truth = COCO(
        {
            "info": {},
            "images": [{"id": one["id"], "width": 0, "height": 0} for one in coco["images"] if one["id"] in seen],
            "annotations": [
                {**{key: entry[key] for key in _TRUTH if key in entry}, "id": number}
                for number, entry in enumerate(annotations, start=1)
            ],
            "categories": [{"id": one["id"], "name": str(one.get("name", one["id"]))} for one in coco["categories"]],
        }
    )
    rows = np.concatenate([np.zeros((0, 7)), *(entry.rows() for entry in detections)])
    evaluation = COCOeval(truth, truth.load_res(rows if len(rows) else []), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    with redirect_stdout(io.StringIO()):  # it prints the table that pycocotools prints
        evaluation.summarize()
    results = {key: float(value) for key, value in evaluation.get_results(per_class=True).items()}
    return {key: results[key] for key in (*METRICS, *sorted(results.keys() - set(METRICS)))}


def coco_from_targets(targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """A COCO dictionary from torchvision targets, for a data set that has none of its own.

    Args:
        targets: One a picture: ``boxes``, ``labels``, ``image_id``, optionally ``area`` and ``iscrowd``.
    """
    annotations: list[dict[str, Any]] = []
    for target in targets:
        boxes = target["boxes"].double().reshape(-1, 4)
        sizes = boxes[:, 2:] - boxes[:, :2]
        areas = target.get("area", sizes.prod(dim=1)).tolist()
        crowd = target.get("iscrowd", torch.zeros(len(boxes))).tolist()
        rows = zip(torch.cat([boxes[:, :2], sizes], 1).tolist(), target["labels"].tolist(), areas, crowd, strict=True)
        annotations += [
            {"image_id": int(target["image_id"]), "bbox": box, "category_id": label, "area": area, "iscrowd": int(many)}
            for box, label, area, many in rows
        ]
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    images = [{"id": number, "width": 0, "height": 0} for number in sorted({int(t["image_id"]) for t in targets})]
    labels = sorted({entry["category_id"] for entry in annotations})
    return {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }
