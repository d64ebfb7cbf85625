"""COCO average precision of detections, as pycocotools computes it.

hotcoco computes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hotcoco import COCOeval
from torch import Tensor

from detloss.training.coco_numbers import METRICS, Rows, evaluated, in_detail

_DECIMALS = {"bbox": 2, "score": 5}
"""Decimals of written and measured values."""


@dataclass(frozen=True)
class Detections:
    """The detections in one image, on the CPU."""

    image_id: int
    boxes: npt.NDArray[np.float32]
    """``(N, 4)`` x1, y1, x2, y2 in pixels of the image."""
    scores: npt.NDArray[np.float32]
    """``(N,)``"""
    labels: npt.NDArray[np.int64]
    """``(N,)`` from 1."""

    @classmethod
    def from_output(cls, image_id: int, output: Mapping[str, Tensor]) -> Detections:
        """Take boxes, scores and labels from a detector's output."""
        boxes, scores, labels = (output[key].detach().cpu() for key in ("boxes", "scores", "labels"))
        return cls(image_id, boxes.float().numpy(), scores.float().numpy(), labels.numpy())

    @classmethod
    def from_rows(cls, image_id: int, rows: Rows) -> Detections:
        """Take the detections of one image from rows of many."""
        own = rows[rows[:, 0] == image_id]
        boxes = np.concatenate([own[:, 1:3], own[:, 1:3] + own[:, 3:5]], axis=1).astype(np.float32)
        return cls(image_id, boxes, own[:, 5].astype(np.float32), own[:, 6].astype(np.int64))

    def only(self, kept: npt.NDArray[Any]) -> Detections:
        """Some of the detections, by their places or a mask."""
        return Detections(self.image_id, self.boxes[kept], self.scores[kept], self.labels[kept])

    def results(self, image_id: object, category_ids: Mapping[int, object]) -> list[dict[str, Any]]:
        """The detections as COCO results, with the data set's ids."""
        return [
            {"image_id": image_id, "category_id": category_ids[int(label)], "bbox": box, "score": score}
            for _, *box, score, label in self.rows().tolist()
        ]

    def rows(self) -> Rows:
        """The detections as rows, rounded as `results` writes them.

        So the file gives the same numbers again.
        """
        boxes = self.boxes.astype(np.float64)
        image_ids = np.full(len(boxes), self.image_id, dtype=np.float64)
        boxes = np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).round(_DECIMALS["bbox"])
        scores = self.scores.astype(np.float64).round(_DECIMALS["score"])
        return np.column_stack([image_ids, boxes, scores, self.labels])


def evaluate_boxes(coco: Mapping[str, Any], detections: Iterable[Detections]) -> dict[str, float]:
    """Compare boxes with the ground truth of the images in `detections`.

    Args:
        coco: Ground truth as a COCO dictionary with integer ids; crowd boxes are treated as COCO does.
        detections: One entry an image, with the dictionary's image ids and category ids; it may be empty.

    Returns:
        `METRICS` and ``AP/<category>`` for each category; -1 without an object.
    """
    results = {key: float(value) for key, value in _evaluated(coco, detections).get_results(per_class=True).items()}
    return {key: results[key] for key in (*METRICS, *sorted(results.keys() - set(METRICS)))}


def evaluate_in_detail(coco: Mapping[str, Any], detections: Iterable[Detections]) -> dict[str, Any]:
    """Measure as `evaluate_boxes` does, also by class and IoU threshold.

    Returns:
        `METRICS`; ``objects``, their number without crowds; ``by_iou``, the AP at each threshold from "0.50" to "0.95";
        ``classes``, for each its ``name``, ``objects``, ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` and
        ``by_iou``. -1 without an object.
    """
    return in_detail(_evaluated(coco, detections), coco)


def _evaluated(coco: Mapping[str, Any], detections: Iterable[Detections]) -> COCOeval:
    detections = list(detections)
    rows = np.concatenate([np.zeros((0, 7)), *(entry.rows() for entry in detections)])
    return evaluated(coco, [entry.image_id for entry in detections], rows)


def coco_from_targets(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A COCO dictionary from the targets of torchvision.

    This is for a data set without such a dictionary.

    Args:
        targets: Arrays or tensors, one an image: ``boxes``, ``labels``, ``image_id``, optionally ``area`` and
            ``iscrowd``.
    """
    annotations: list[dict[str, Any]] = []
    for target in targets:
        boxes = np.asarray(target["boxes"], dtype=np.float64).reshape(-1, 4)
        sizes = boxes[:, 2:] - boxes[:, :2]
        areas = target.get("area", sizes.prod(axis=1)).tolist()
        crowd = target.get("iscrowd", np.zeros(len(boxes))).tolist()
        rows = zip(np.hstack([boxes[:, :2], sizes]).tolist(), target["labels"].tolist(), areas, crowd, strict=True)
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
