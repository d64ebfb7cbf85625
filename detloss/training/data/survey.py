"""What the loader sees: counts, sizes, shapes, skipped annotations."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from detloss.training.data.coco import general
from detloss.training.data.dataset import CocoDataset, DetectionDataset
from detloss.training.data.orientation import Orientations, orientations

_SIZES = (8, 16, 32, 64, 96, 128, 256, 512)
"""Borders of the histogram of sizes, in pixels; in COCO, objects below 32 are small, from 96 large."""
_ASPECTS = {0.25: "1:4", 0.5: "1:2", 0.8: "4:5", 1.25: "5:4", 2.0: "2:1", 4.0: "4:1"}
"""Borders of the histogram of aspect ratios, width to height."""


@dataclass(frozen=True)
class SplitSurvey:
    """One split as the loader sees it."""

    images: int
    background: int
    """Images without a box to train on."""
    boxes: int
    """Targets: boxes to train on."""
    crowds: int
    """Boxes of groups, only for the evaluation."""
    classes: Mapping[str, int]
    """Targets of each class."""
    sizes: Mapping[str, int]
    """Targets by the square root of their area within the image, in pixels of the image."""
    aspects: Mapping[str, int]
    """Targets by width to height."""
    skipped: Mapping[str, tuple[int, str]]
    """Reason -> how many annotations, and the first."""
    orientations: Orientations
    warnings: tuple[str, ...]


def survey(dataset: DetectionDataset, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> SplitSurvey:
    """Count a data set's contents; only headers of images are read.

    Args:
        dataset: The data set.
        track: Draws a progress bar over the images.
    """
    records = dataset.coco["images"]
    classes = dict.fromkeys(dataset.categories, 0)
    sizes: list[float] = []
    aspects: list[float] = []
    background = 0
    for index, record in enumerate(records):
        objects = dataset.objects(index)
        background += not objects
        for entry in objects:
            classes[dataset.categories[entry["category_id"] - 1]] += 1
            x, y, width, height = entry["bbox"]
            width = min(x + width, record["width"]) - max(x, 0)
            height = min(y + height, record["height"]) - max(y, 0)
            sizes.append(math.sqrt(width * height))
            aspects.append(width / height)
    reasons: dict[str, tuple[int, str]] = {}
    for skipped in dataset.skipped:
        kind = general(skipped.reason)
        count, first = reasons.get(kind, (0, str(skipped)))
        reasons[kind] = (count + 1, first)
    return SplitSurvey(
        images=len(dataset),
        background=background,
        boxes=len(sizes),
        crowds=sum(entry["iscrowd"] for entry in dataset.coco["annotations"]),
        classes=classes,
        sizes=_histogram(sizes, _SIZES, tuple(map(str, _SIZES))),
        aspects=_histogram(aspects, tuple(_ASPECTS), tuple(_ASPECTS.values())),
        skipped=reasons,
        orientations=orientations(records, dataset.folder, track)
        if isinstance(dataset, CocoDataset)
        else Orientations(),
        warnings=dataset.annotations.warnings,
    )


def _histogram(values: Iterable[float], borders: Sequence[float], names: Sequence[str]) -> dict[str, int]:
    """Count values between borders, without the upper one."""
    counts = Counter(bisect_right(borders, value) for value in values)
    labels = [f"below {names[0]}", *(f"{low} to {high}" for low, high in pairwise(names)), f"from {names[-1]}"]
    return {label: counts[place] for place, label in enumerate(labels)}
