"""Test images as two arms see them, side by side, small enough to stand in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detloss.compare.analysis.run_records import read_predictions
from detloss.compare.report.numbers import short
from detloss.compare.result import ArmResult, Comparison, ImagePair
from detloss.errors import DataError, DetlossError
from detloss.text import one_line
from detloss.training.data.dataset import DetectionDataset
from detloss.training.data.sources import open_split, read_config
from detloss.training.evaluation import Detections
from detloss.training.folder import config_of
from detloss.training.predictions_image import draw_each

_MOST = 12
"""Pairs that are shown at most."""
_BUDGET = 1_800_000
"""Bytes of all images together, as text."""
_SIZES = ((480, 75), (480, 50), (360, 50), (240, 40), (160, 30))
"""Longer side in pixels and quality of the images: the first with which they fit into the budget."""


@dataclass(frozen=True)
class Side:
    """One image with the boxes of one arm."""

    arm: str
    words: str
    uri: str
    size: tuple[int, int]


@dataclass(frozen=True)
class DrawnPair:
    """One image, as two arms see it."""

    pair: ImagePair
    seed: int
    sides: tuple[Side, Side]


@dataclass(frozen=True)
class Gallery:
    """All pairs, or why there are none."""

    pairs: tuple[DrawnPair, ...]
    missing: str = ""


def draw_pairs(comparison: Comparison, folder: Path) -> Gallery:
    """Draw what both arms of each pair found, in the run of the first seed that both finished.

    Args:
        comparison: Names images and runs.
        folder: What the folders of the runs are relative to.
    """
    chosen = comparison.image_pairs[:_MOST]
    if not chosen:
        return Gallery(())
    try:
        drawn = list(_drawn(comparison, folder, chosen))
    except DetlossError as error:
        return Gallery((), one_line(error, 300))
    for side, quality in _SIZES:
        uris = [_uri(image, side, quality) for _, images in drawn for image, _ in images]
        if sum(map(len, uris)) <= _BUDGET:
            break
    taken = iter(uris)
    return Gallery(
        tuple(
            DrawnPair(pair, seed, (_side(pair, 0, images, next(taken)), _side(pair, 1, images, next(taken))))
            for (pair, seed), images in drawn
        )
    )


Described = tuple[Image.Image, str]


def _drawn(
    comparison: Comparison, folder: Path, chosen: Sequence[ImagePair]
) -> Iterator[tuple[tuple[ImagePair, int], list[Described]]]:
    arms = {arm.label: arm for arm in comparison.arms}
    split = comparison.question.split
    seeds = {pair.arms: _common_seed(arms[pair.arms[0]], arms[pair.arms[1]]) for pair in chosen}
    data: DetectionDataset | None = None
    found: dict[Path, list[dict[str, Any]]] = {}
    for pair in chosen:
        seed = seeds[pair.arms]
        runs = [folder / next(run.folder for run in arms[label].runs if run.seed == seed) for label in pair.arms]
        # All runs of a comparison have the same data.
        data = data or open_split(read_config(config_of(runs[0])), split)
        record = data.coco["images"][pair.image_id - 1] if pair.image_id <= len(data) else {"file_name": None}
        if record["file_name"] != pair.file_name:
            raise DataError(
                f"Image {pair.image_id} of {comparison.question.data} is no longer {short(pair.file_name)}."
            )
        for run in runs:
            if run not in found:
                results = read_predictions(run, split)
                if results is None:
                    raise DataError(f"{run} has no predictions for the split {split}.")
                found[run] = results
        yield (pair, seed), list(draw_each(data, [_detections(data, found[run], pair.image_id) for run in runs]))


def _common_seed(first: ArmResult, second: ArmResult) -> int:
    finished = [{run.seed for run in arm.runs if run.state == "finished"} for arm in (first, second)]
    both = sorted(finished[0] & finished[1])
    if not both:
        raise DataError(f"{short(first.label)} and {short(second.label)} finished no seed in common.")
    return both[0]


def _detections(data: DetectionDataset, results: Sequence[dict[str, Any]], number: int) -> Detections:
    """The COCO results of an image, whose ids are the annotation file's own."""
    identity = data.annotations.image_ids[number - 1]
    labels = {category: label for label, category in enumerate(data.annotations.category_ids, start=1)}
    own = [one for one in results if one["image_id"] == identity]
    boxes = np.array([one["bbox"] for one in own], dtype=np.float32).reshape(-1, 4)
    return Detections(
        number,
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        np.array([one["score"] for one in own], dtype=np.float32),
        np.array([labels[one["category_id"]] for one in own], dtype=np.int64),
    )


def _uri(image: Image.Image, side: int, quality: int) -> str:
    shrunk = image.copy()
    shrunk.thumbnail((side, side))
    buffer = io.BytesIO()
    shrunk.save(buffer, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _side(pair: ImagePair, number: int, images: Sequence[Described], uri: str) -> Side:
    image, words = images[number]
    return Side(pair.arms[number], words, uri, image.size)
