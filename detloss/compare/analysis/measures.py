"""Measures each run: COCO's numbers and more, also on image parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hotcoco import COCOeval

from detloss.training.coco_numbers import METRICS, Rows, evaluated, in_detail, matched
from detloss.training.outcomes import Truth, judge

HALVES = 500
"""Random halves of the images: the standard error that they give is known to 3 %."""
GROUPS = 100
"""Groups of images of the jackknife."""
MOST_FOR_HALVES = 5000
"""Images from which on a jackknife takes the place of halves: it evaluates a fifth as often."""
_SHOWN_SCORE = 0.5
"""Detections below this score do not count in the quality of an image, as they are not drawn."""
_TIDE = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """What one run's detections are worth."""

    metrics: dict[str, float]
    """COCO's numbers; -1 where there is nothing to measure on."""
    by_iou: dict[str, float]
    classes: dict[str, float]
    tide: dict[str, float]
    """AP50 that would be gained without errors of a kind (Bolya et al. 2020, arXiv 2008.08115)."""
    calibration_error: float | None
    """Expected calibration error at IoU 0.5 in 10 bins of the score (Guo et al. 2017, arXiv 1706.04599)."""
    found: dict[int, float]
    """IoU of each object that a detection matched at IoU 0.5, by the object's place among the annotations, from 1."""


def measure(truth: Mapping[str, Any], rows: Rows) -> Measurement:
    """Measure detections on all images of the ground truth."""
    evaluation = evaluated(truth, _images(truth), rows)
    details = in_detail(evaluation, truth)
    gained = evaluation.tide_errors()["delta_ap"]
    return Measurement(
        metrics={key: float(details[key]) for key in METRICS},
        by_iou=details["by_iou"],
        classes={each["name"]: each["AP"] for each in details["classes"]},
        tide={kind: float(gained[kind]) for kind in _TIDE},
        calibration_error=float(evaluation.calibration()["ece"]) if len(rows) else None,
        found=_found(evaluation, truth, rows),
    )


def common_ious(found: Sequence[Mapping[int, float]]) -> list[float | None]:
    """Mean IoU of each run on the objects that all found."""
    common = sorted(set[int].intersection(*map(set, found))) if found else []
    return [float(np.mean([each[number] for number in common])) if common else None for each in found]


def qualities(truth: Mapping[str, Any], images: Sequence[int], rows: Rows) -> Floats:
    """Panoptic quality of some images, by what is drawn of the detections."""
    objects: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in truth["annotations"]:
        objects[entry["image_id"]].append(entry)
    shown = rows[rows[:, 5] >= _SHOWN_SCORE]
    shown = shown[np.argsort(shown[:, 0], kind="stable")]
    starts, ends = (np.searchsorted(shown[:, 0], images, side=side) for side in ("left", "right"))
    return np.array(
        [
            judge(_corners(own[:, 1:5]), own[:, 5], own[:, 6].astype(np.int64), _truth(objects[image])).quality
            for image, own in zip(images, map(lambda a, b: shown[a:b], starts, ends), strict=True)
        ]
    )


def replicates(truth: Mapping[str, Any], runs: Sequence[Rows], *, halves: int = HALVES) -> tuple[Floats, str]:
    """AP of each run on shared parts of the images.

    With it comes a description of these parts.

    Random halves without replacement have the variance of the bootstrap, and no image twice. Above `MOST_FOR_HALVES`
    images each part excludes one of `GROUPS` random groups.

    Args:
        truth: The ground truth.
        runs: Detections of each run.
        halves: How many.

    Returns:
        ``(parts, runs)``; parts without an object are not among them.
    """
    images = np.array(_images(truth))
    random = np.random.default_rng(0)
    if len(images) > MOST_FOR_HALVES:
        groups = np.array_split(random.permutation(images), GROUPS)
        parts = [np.setdiff1d(images, group) for group in groups]
        how = f"jackknife over {GROUPS} random groups of the images"
    else:
        parts = [random.choice(images, len(images) // 2, replace=False) for _ in range(halves)]
        how = f"{halves} random halves of the images"
    named = {str(number): part.tolist() for number, part in enumerate(parts)}
    columns = [matched(truth, _images(truth), rows, only_ap=True).slice_by(named) for rows in runs]
    table = np.array([[column[name]["AP"] for column in columns] for name in named]).reshape(len(named), len(runs))
    return table[(table > -1).all(axis=1)], how


def _images(truth: Mapping[str, Any]) -> list[int]:
    return [image["id"] for image in truth["images"]]


def _found(evaluation: COCOeval, truth: Mapping[str, Any], rows: Rows) -> dict[int, float]:
    pairs = sorted(evaluation.image_diagnostics(iou_thr=0.5)["gt_match"].items())
    if not pairs:
        return {}
    objects = np.array([truth["annotations"][number - 1]["bbox"] for number, _ in pairs])
    own, other = _corners(objects), _corners(rows[[number - 1 for _, number in pairs], 1:5])
    sides = (np.minimum(own[:, 2:], other[:, 2:]) - np.maximum(own[:, :2], other[:, :2])).clip(0)
    common = sides.prod(axis=1)
    union = (own[:, 2:] - own[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - common
    return {number: float(iou) for (number, _), iou in zip(pairs, common / union, strict=True)}


def _corners(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _truth(objects: Sequence[Mapping[str, Any]]) -> Truth:
    boxes = np.array([entry["bbox"] for entry in objects], dtype=np.float64).reshape(-1, 4)
    return Truth(
        _corners(boxes),
        np.array([entry["category_id"] for entry in objects], dtype=np.int64),
        np.array([bool(entry.get("iscrowd")) for entry in objects], dtype=bool),
    )
