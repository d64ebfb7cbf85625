"""COCO average precision of detections, computed by hotcoco (the same numbers as pycocotools)."""

from __future__ import annotations

import io
from collections import Counter
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
    """What a model found in one image, on the CPU."""

    image_id: int
    boxes: npt.NDArray[np.float32]
    """``(N, 4)`` x1, y1, x2, y2 in pixels of the image."""
    scores: npt.NDArray[np.float32]
    """``(N,)``"""
    labels: npt.NDArray[np.int64]
    """``(N,)`` from 1."""

    @classmethod
    def from_output(cls, image_id: int, output: Mapping[str, Tensor]) -> Detections:
        """Take boxes, scores and labels from a torchvision detector's output for one image."""
        boxes, scores, labels = (output[key].detach().cpu() for key in ("boxes", "scores", "labels"))
        return cls(image_id, boxes.float().numpy(), scores.float().numpy(), labels.numpy())

    def only(self, kept: npt.NDArray[Any]) -> Detections:
        """Some of the detections, by their places or a mask."""
        return Detections(self.image_id, self.boxes[kept], self.scores[kept], self.labels[kept])

    def results(self, image_id: object, category_ids: Mapping[int, object]) -> list[dict[str, Any]]:
        """The detections as COCO results: with ids as they are to be written, those of the categories by label."""
        return [
            {
                "image_id": image_id,
                "category_id": category_ids[label],
                "bbox": [round(value, 2) for value in (*box[:2], box[2] - box[0], box[3] - box[1])],
                "score": round(score, 5),
            }
            for box, score, label in zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        ]

    def rows(self) -> npt.NDArray[np.float64]:
        """``(N, 7)``: image_id, x, y, width, height, score, label, as COCO results are."""
        boxes = self.boxes.astype(np.float64)
        image_ids = np.full(len(boxes), self.image_id, dtype=np.float64)
        return np.column_stack([image_ids, boxes[:, :2], boxes[:, 2:] - boxes[:, :2], self.scores, self.labels])


def evaluate_boxes(coco: Mapping[str, Any], detections: Iterable[Detections]) -> dict[str, float]:
    """Measure boxes against ground truth, on the images that have an entry in `detections`.

    Args:
        coco: Ground truth as a COCO dictionary with integer ids; crowd boxes are treated as COCO does.
        detections: One entry an image, with the dictionary's image ids and category ids; it may hold no box.

    Returns:
        `METRICS` and ``AP/<category>`` for each category; -1 where there is nothing to measure on.
    """
    results = {key: float(value) for key, value in _evaluated(coco, detections).get_results(per_class=True).items()}
    return {key: results[key] for key in (*METRICS, *sorted(results.keys() - set(METRICS)))}


def evaluate_in_detail(coco: Mapping[str, Any], detections: Iterable[Detections]) -> dict[str, Any]:
    """Measure as `evaluate_boxes` does, each class and each IoU threshold by itself.

    Returns:
        `METRICS`; ``objects``, their number without crowds; ``by_iou``, the AP at each threshold from "0.50" to "0.95";
        ``classes``, for each its ``name``, ``objects``, ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` and
        ``by_iou``. -1 where there is no object to measure on.
    """
    evaluation = _evaluated(coco, detections)
    summary = evaluation.get_results()
    # By IoU threshold, recall, class, size and number of detections; -1 where there is no object.
    precision = np.asarray((evaluation.eval or {})["precision"])[..., -1]
    counts = Counter(entry["category_id"] for entry in coco["annotations"] if not entry.get("iscrowd"))
    categories = sorted(coco["categories"], key=lambda category: int(category["id"]))
    classes = [
        {
            "name": category["name"],
            "objects": counts[category["id"]],
            "AP": _mean(precision[:, :, index, 0]),
            "AP50": _mean(precision[0, :, index, 0]),
            "AP75": _mean(precision[5, :, index, 0]),
            **{f"AP{size}": _mean(precision[:, :, index, place]) for place, size in enumerate("sml", start=1)},
            "by_iou": _by_iou(precision[:, :, index, 0]),
        }
        for index, category in enumerate(categories)
    ]
    return {
        "objects": counts.total(),
        **{key: float(summary[key]) for key in METRICS},
        "by_iou": _by_iou(precision[..., 0]),
        "classes": classes,
    }


def _by_iou(precision: npt.NDArray[np.float64]) -> dict[str, float]:
    return {f"{0.5 + 0.05 * step:.2f}": _mean(values) for step, values in enumerate(precision)}


def _mean(precision: npt.NDArray[np.float64]) -> float:
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else -1.0


def _evaluated(coco: Mapping[str, Any], detections: Iterable[Detections]) -> COCOeval:
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
    return evaluation


def coco_from_targets(targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """A COCO dictionary from torchvision targets, for a data set that has none of its own.

    Args:
        targets: One an image: ``boxes``, ``labels``, ``image_id``, optionally ``area`` and ``iscrowd``.
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
