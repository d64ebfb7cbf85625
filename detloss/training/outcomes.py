"""The outcome of each detection: right, misplaced, wrong class or duplicate."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

_LEAST_IOU = 0.5
"""COCO's AP50: a detection that overlaps an object this much has found it."""

Boxes = npt.NDArray[np.floating]


class Outcome(Enum):
    """The outcome of a detection, compared with the ground truth."""

    RIGHT = "right"
    WRONG_PLACE = "wrong place"
    WRONG_CLASS = "wrong class"
    DUPLICATE = "duplicate"
    CROWD = "in a crowd"
    """Neither right nor wrong: COCO does not count detections in a crowd."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of one image."""

    boxes: Boxes
    """``(M, 4)`` x1, y1, x2, y2."""
    labels: npt.NDArray[np.int64]
    """``(M,)``"""
    crowd: npt.NDArray[np.bool_]
    """``(M,)`` whether it is a group of objects."""


@dataclass(frozen=True)
class Judged:
    """The detections of one image, compared with its ground truth."""

    outcomes: tuple[Outcome, ...]
    """One per detection."""
    ious: tuple[float, ...]
    """IoU of each detection with its object; 0 without an overlap."""
    missed: tuple[int, ...]
    """Numbers of the objects that no detection found, from 0."""

    @property
    def quality(self) -> float:
        """Panoptic quality in [0, 1]; 1 for an empty image.

        It is the sum of IoU of right ones over right + (wrong + missed) / 2.
        """
        right = [iou for iou, outcome in zip(self.ious, self.outcomes, strict=True) if outcome is Outcome.RIGHT]
        counted = sum(outcome is not Outcome.CROWD for outcome in self.outcomes)
        total = (len(right) + counted + len(self.missed)) / 2
        return sum(right) / total if total else 1.0


def judge(boxes: Boxes, scores: Boxes, labels: npt.NDArray[np.int64], truth: Truth) -> Judged:
    """Match detections to objects as COCO does at IoU 0.5.

    The highest score comes first.

    Each takes the free object of its class with the largest overlap, at least 0.5. Any other detection is half in a
    crowd of its class, a duplicate on an object of its class, of a wrong class on another object, or in a wrong place.

    Args:
        boxes: ``(N, 4)`` x1, y1, x2, y2 of the detections.
        scores: ``(N,)``
        labels: ``(N,)``
        truth: The image's objects.
    """
    overlaps, ious = _overlaps(boxes, truth.boxes)
    within = overlaps / np.maximum(_areas(boxes)[:, None], np.finfo(float).tiny)
    free = ~truth.crowd
    outcomes, shown = [Outcome.WRONG_PLACE] * len(boxes), [0.0] * len(boxes)
    for number in np.argsort(-scores, kind="stable").tolist():
        own = truth.labels == labels[number]
        tried = (
            (Outcome.RIGHT, ious, own & free),
            (Outcome.CROWD, within, own & truth.crowd),
            (Outcome.DUPLICATE, ious, own & ~truth.crowd),
            (Outcome.WRONG_CLASS, ious, ~own & ~truth.crowd),
        )
        best = {outcome: np.where(among, values[number], 0).max(initial=0) for outcome, values, among in tried}
        outcome = next((each for each in best if best[each] >= _LEAST_IOU), Outcome.WRONG_PLACE)
        if outcome is Outcome.RIGHT:
            free[np.argmax(np.where(own & free, ious[number], 0))] = False
        outcomes[number] = outcome
        shown[number] = float(best[Outcome.DUPLICATE if outcome is Outcome.WRONG_PLACE else outcome])
    return Judged(tuple(outcomes), tuple(shown), tuple(np.flatnonzero(free).tolist()))


def _overlaps(first: Boxes, second: Boxes) -> tuple[Boxes, Boxes]:
    """Areas in common and IoUs, ``(N, M)`` each."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clip(0).prod(axis=-1)
    union = _areas(first)[:, None] + _areas(second) - common
    return common, common / np.maximum(union, np.finfo(float).tiny)


def _areas(boxes: Boxes) -> Boxes:
    areas: Boxes = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=-1)
    return areas
