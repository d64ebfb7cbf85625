"""Test images of two arms side by side, small for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from detloss.compare.analysis.run_records import read_predictions, rows_of
from detloss.compare.analysis.written_runs import images_of, is_written, rows_in
from detloss.compare.report.numbers import short
from detloss.compare.result import ArmResult, Comparison, ImagePair
from detloss.errors import DataError, DetlossError
from detloss.text import one_line
from detloss.training.coco_numbers import Rows
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
    """Draw the detections of both arms of each pair.

    They come from the first seed that both finished.

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
    seeds = [_common_seed(*(arms[label] for label in pair.arms)) for pair in chosen]
    runs = [
        [folder / run.folder for label in pair.arms for run in arms[label].finished if run.seed == seed]
        for pair, seed in zip(chosen, seeds, strict=True)
    ]
    # All runs of a comparison have the same data.
    data = _images(runs[0][0], comparison.question.split)
    for pair in chosen:
        record = data.coco["images"][pair.image_id - 1] if pair.image_id <= len(data) else {"file_name": None}
        if record["file_name"] != pair.file_name:
            raise DataError(
                f"Image {pair.image_id} of {comparison.question.data} is no longer {short(pair.file_name)}."
            )
    rows = {run: _rows(run, comparison.question.split, data) for both in runs for run in both}
    found = (
        Detections.from_rows(pair.image_id, rows[run]) for pair, both in zip(chosen, runs, strict=True) for run in both
    )
    images = draw_each(data, found)
    for pair, seed in zip(chosen, seeds, strict=True):
        yield (pair, seed), [next(images), next(images)]


def _images(run: Path, split: Literal["val", "test"]) -> DetectionDataset:
    return images_of(run) if is_written(run) else open_split(read_config(config_of(run)), split)


def _rows(run: Path, split: Literal["val", "test"], data: DetectionDataset) -> Rows:
    if is_written(run):
        return rows_in(run)
    results = read_predictions(run, split)
    if results is None:
        raise DataError(f"{run} has no predictions for the split {split}.")
    return rows_of(results, run, data.annotations.image_ids, data.annotations.category_ids)


def _common_seed(first: ArmResult, second: ArmResult) -> int:
    both = sorted({run.seed for run in first.finished} & {run.seed for run in second.finished})
    if not both:
        raise DataError(f"{short(first.label)} and {short(second.label)} finished no seed in common.")
    return both[0]


def _uri(image: Image.Image, side: int, quality: int) -> str:
    shrunk = image.copy()
    shrunk.thumbnail((side, side))
    buffer = io.BytesIO()
    shrunk.save(buffer, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _side(pair: ImagePair, number: int, images: Sequence[Described], uri: str) -> Side:
    image, words = images[number]
    return Side(pair.arms[number], words, uri, image.size)
