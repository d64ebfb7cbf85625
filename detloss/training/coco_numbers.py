"""COCO's numbers for rows of detections, without torch.

hotcoco computes them, the same as pycocotools.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import numpy.typing as npt
from hotcoco import COCO, COCOeval

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers in their order; -1 if the ground truth has no such object."""
Rows = npt.NDArray[np.float64]
"""``(N, 7)``: image_id, x, y, width, height, score, label."""
_TRUTH = ("image_id", "category_id", "bbox", "area", "iscrowd")
"""The keys of an annotation that box metrics need; a segmentation is ignored."""


def evaluated(coco: Mapping[str, Any], images: Collection[int], rows: Rows) -> COCOeval:
    """Measure detections against ground truth on some images.

    Args:
        coco: Ground truth as a COCO dictionary with integer ids; crowd boxes are treated as COCO does.
        images: Ids of the images.
        rows: Detections, with the dictionary's image ids and category ids. Detections and objects are numbered 1, 2,
            ... in their order.
    """
    evaluation = matched(coco, images, rows)
    evaluation.accumulate()
    with redirect_stdout(io.StringIO()):  # it prints the table that pycocotools prints
        evaluation.summarize()
    return evaluation


def matched(coco: Mapping[str, Any], images: Collection[int], rows: Rows, *, only_ap: bool = False) -> COCOeval:
    """Match detections to objects as `evaluated` does, without sums.

    `only_ap` skips sizes and AR.
    """
    seen = set(images)
    annotations = [entry for entry in coco["annotations"] if entry["image_id"] in seen]
    # A user's own dictionary may hold anything else, and its annotation ids may repeat.
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
    evaluation = COCOeval(truth, truth.load_res(rows if len(rows) else []), "bbox")
    if only_ap:
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
    evaluation.evaluate()
    return evaluation


def in_detail(evaluation: COCOeval, coco: Mapping[str, Any]) -> dict[str, Any]:
    """`METRICS`, by IoU threshold and by class: the result of `evaluate_in_detail`."""
    summary = evaluation.get_results()
    # By IoU threshold, recall, class, size and number of detections; -1 without an object.
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
