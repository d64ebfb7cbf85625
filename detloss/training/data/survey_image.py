"""Images of a data set with boxes, and bar charts."""

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from detloss.training.data.datamodule import AugmentedDataset
from detloss.training.data.dataset import DetectionDataset
from detloss.training.data.survey import SplitSurvey
from detloss.training.drawing import contact_sheet, draw_target, fitting
from detloss.training.settings import TrainConfig

_SAMPLES = 9
_COLUMNS = 3
_SIDE = 480
"""Longer side of an image in the sheet, in pixels."""
_ROW = 24
"""Height of a bar with the gap below it, in pixels."""
_TEXT = 14
_MOST_BARS = 12


def draw_survey(config: TrainConfig, train: DetectionDataset, found: SplitSurvey) -> Image.Image:
    """Draw augmented training images, and charts of classes, sizes and shapes."""
    places = [index for index in range(len(train)) if train.objects(index)]
    # Spread over the whole file: neighbors are often frames of one video.
    number = min(_SAMPLES, len(places))
    chosen = [places[turn * len(places) // number] for turn in range(number)]
    augmented = AugmentedDataset(train, config.data.augment, config.train.seed)
    samples = [draw_target(*augmented[0, index], train.categories, side=_SIDE) for index in chosen]
    titles = [train.coco["images"][index]["file_name"] for index in chosen]
    most = sorted(found.classes.items(), key=lambda item: -item[1])
    classes = dict(most[:_MOST_BARS])
    if rest := most[_MOST_BARS:]:
        classes[f"{len(rest)} other classes"] = sum(count for _, count in rest)
    charts = {
        "Boxes to train on, by class": classes,
        "Size: square root of the area, in pixels of the image": found.sizes,
        "Aspect ratio: width to height": found.aspects,
    }
    # Charts start a new row.
    blank = [Image.new("RGB", (1, 1), "white")] * (-number % _COLUMNS)
    sheet = [*samples, *blank, *map(_chart, charts.values())]
    return contact_sheet(sheet, [*titles, *[""] * len(blank), *charts], _COLUMNS)


def _chart(counts: Mapping[str, Any]) -> Image.Image:
    """Horizontal bars with names on the left and counts at the end."""
    font = ImageFont.load_default(_TEXT)
    canvas = Image.new("RGB", (_SIDE, _ROW * max(len(counts), 1)), "white")
    pen = ImageDraw.Draw(canvas)
    left = min(_SIDE / 3, max((pen.textlength(name, font) for name in counts), default=0)) + 8
    room = _SIDE - left - pen.textlength(f" {max(counts.values(), default=0)}", font) - 8
    for row, (name, count) in enumerate(counts.items()):
        top = row * _ROW
        end = left + room * count / max(1, *counts.values())
        pen.text((left - 8, top + _ROW / 2), fitting(name, font, left - 8), "black", font, anchor="rm")
        pen.rectangle((left, top + 3, end, top + _ROW - 4), fill="#4477aa")
        pen.text((end + 6, top + _ROW / 2), str(count), "black", font, anchor="lm")
    return canvas
