"""Drawing boxes on images."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional

from detloss.text import one_line

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_SIDE = 480
"""Least longer side of an output image in pixels, so that labels do not hide small objects."""
_TEXT = 100
"""Most characters of a label or title."""
_MARGIN = 8
"""White pixels around the images of a sheet."""
_CELL = 4
"""Pixels; places of labels are computed on a grid of such squares."""
_ON_LABEL = 20.0
"""Cost of a label that hides another one; hiding a whole object costs 1."""
_AWAY = 0.05
"""Cost of a label whose distance from its box is its own height."""


def draw_boxes(
    image: Tensor,
    boxes: Sequence[Sequence[float]],
    texts: Sequence[str],
    colors: Sequence[str],
    *,
    dashed: Sequence[bool] = (),
    side: int | None = None,
) -> Image.Image:
    """Draw boxes around objects, with separate labels.

    torchvision's `draw_bounding_boxes` writes over the object, over other labels and over the edge.

    Args:
        image: ``(3, H, W)`` uint8, or float in [0, 1].
        boxes: x1, y1, x2, y2 of each, in pixels of `image`.
        texts: Label of each; "" draws none. A label is next to its box, where it hides least of all objects.
        colors: Color of each, as CSS writes it.
        dashed: Whether the line of each is thin and dashed; by default none is.
        side: Longer side of the result in pixels; by default that of the image, and at least 480.
    """
    pil: Image.Image = functional.to_pil_image(image.detach().cpu())
    scale = (side or max(_SIDE, *pil.size)) / max(pil.size)
    canvas = pil.resize((max(1, round(pil.width * scale)), max(1, round(pil.height * scale))))
    unit = max(1, round(max(canvas.size) / _SIDE))
    scaled = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * scale
    scaled = scaled.clip(0, np.tile(canvas.size, 2) - 1.0)
    pen = ImageDraw.Draw(canvas)
    for box, color, thin in zip(scaled.tolist(), colors, dashed or [False] * len(scaled), strict=True):
        (_dashed if thin else _outline)(pen, box, color, unit)
    _label(canvas, scaled, texts, colors, unit)
    return canvas


def draw_target(
    image: Tensor, target: Mapping[str, Tensor], categories: Sequence[str], *, side: int | None = None
) -> Image.Image:
    """Draw an image with the boxes and classes of its target.

    Args:
        image: As `draw_boxes` takes it.
        target: Its `boxes` and `labels`.
        categories: Name of label 1, 2, ...
        side: As for `draw_boxes`.
    """
    labels = target["labels"].tolist()
    texts, colors = [categories[label - 1] for label in labels], [label_color(label) for label in labels]
    return draw_boxes(image, target["boxes"].tolist(), texts, colors, side=side)


def label_color(label: int) -> str:
    """The CSS color of a class: distinct for twenty labels and more.

    Args:
        label: From 1.
    """
    # Steps of the golden ratio keep hues apart; lightness separates those of the next rounds.
    hue, lightness = label * 0.618034 % 1, (0.4, 0.62, 0.28)[label % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, (0.95, 0.7)[label // 3 % 2]))
    return f"#{red:02x}{green:02x}{blue:02x}"


def contact_sheet(images: Sequence[Image.Image], titles: Sequence[str], columns: int) -> Image.Image:
    """Put images side by side on white, each with its title above.

    Args:
        images: At least one.
        titles: One an image; cut to the width of its image.
        columns: Most images in a row.
    """
    columns = min(columns, len(images))
    width = max(image.width for image in images)
    size = max(14, width // 32)
    above, font = (size + _MARGIN if any(titles) else 0), _font(size)
    rows = [images[first : first + columns] for first in range(0, len(images), columns)]
    heights = [max(image.height for image in row) + above + _MARGIN for row in rows]
    sheet = Image.new("RGB", (columns * (width + _MARGIN) + _MARGIN, sum(heights) + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (image, title) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * (width + _MARGIN) + _MARGIN, sum(heights[:row]) + _MARGIN
        pen.text((left, top), fitting(title, font, width), "black", font)
        sheet.paste(image, (left, top + above))
    return sheet


def add_legend(image: Image.Image, entries: Sequence[tuple[str, str, bool]], notes: Sequence[str] = ()) -> Image.Image:
    """Return an image with a legend below it.

    Args:
        image: Any.
        entries: The meaning of a color, the color, and whether its line is dashed.
        notes: Sentences after the entries.
    """
    size = 14
    font, line = _font(size), size + _MARGIN
    placed: list[tuple[int, int]] = []
    x, y = _MARGIN, 0
    widths = [*(3 * size + font.getlength(text) for text, *_ in entries), *map(font.getlength, notes)]
    for width in widths:
        if x > _MARGIN and x + width > image.width - _MARGIN:
            x, y = _MARGIN, y + line
        placed.append((x, y))
        x += round(width) + 2 * _MARGIN
    canvas = Image.new("RGB", (image.width, image.height + y + line), "white")
    canvas.paste(image)
    pen = ImageDraw.Draw(canvas)
    for (text, color, thin), (left, below) in zip(entries, placed, strict=False):
        top = image.height + below
        swatch = (left + 2, top + 2, left + 2 * size, top + size)
        pen.rectangle(swatch, "#bbbbbb" if thin else None)  # white dashes are visible on gray
        (_dashed if thin else _outline)(pen, swatch, color, 1)
        pen.text((left + 3 * size, top), text, "black", font)
    for note, (left, below) in zip(notes, placed[len(entries) :], strict=True):
        pen.text((left, image.height + below), note, "black", font)
    return canvas


def fitting(text: str, font: Font, width: float) -> str:
    """Cut a text to `width` pixels."""
    text = cut = one_line(text, _TEXT)
    while cut and font.getlength(text) > width:
        cut = cut[:-1]
        text = f"{cut}..."
    return text


def _outline(pen: ImageDraw.ImageDraw, box: Sequence[float], color: str, unit: int) -> None:
    width, height = pen.im.size
    x1, y1 = (max(0, low - 2 * unit) for low in box[:2])
    x2, y2 = (min(end - 1, high + 2 * unit) for end, high in zip((width, height), box[2:], strict=True))
    # Around the box, if there is room: a small object stays visible.
    pen.rectangle((x1, y1, x2, y2), outline=color, width=2 * unit)


def _dashed(pen: ImageDraw.ImageDraw, box: Sequence[float], color: str, unit: int) -> None:
    x1, y1, x2, y2 = box
    # A dark line under light dashes, and the reverse: visible on any background.
    pen.rectangle((x1, y1, x2, y2), outline=_text_color(color), width=unit)
    for start, end, y, x in ((x1, x2, (y1, y2), None), (y1, y2, None, (x1, x2))):
        for low in np.arange(start, end, 8 * unit).tolist():
            high = min(low + 5 * unit, end)
            for fixed in y or x or ():
                pen.line((low, fixed, high, fixed) if y else (fixed, low, fixed, high), color, unit)


def _label(
    canvas: Image.Image, boxes: npt.NDArray[np.float64], texts: Sequence[str], colors: Sequence[str], unit: int
) -> None:
    """Write each label where it hides least and is near its box."""
    cell, size = _CELL * unit, 13 * unit
    pen, font = ImageDraw.Draw(canvas), _font(size)
    rows, columns = max(1, canvas.height // cell), max(1, canvas.width // cell)
    cost = np.zeros((rows, columns))
    for box in boxes:
        _add(cost, box / cell, 1.0)
    pads = 2 * unit
    for box, text, color in zip(boxes, texts, colors, strict=True):
        if not text:
            continue
        shown = fitting(text, font, canvas.width - 2 * pads)
        width, height = pen.textlength(shown, font) + 2 * pads, size + 2 * pads
        wide, high = min(columns, int(-(-width // cell))), min(rows, int(-(-height // cell)))
        sums = np.pad(cost.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        hidden = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
        top, left = (np.arange(size) * float(cell) for size in hidden.shape)
        x1, y1, x2, y2 = box + np.array([-1, -1, 1, 1]) * pads
        across = np.maximum(0, np.maximum(left - x2, x1 - left - width))
        along = np.maximum(0, np.maximum(top - y2, y1 - top - height))
        gap = np.hypot(across, along[:, None])
        # Of equally good places, the one above the upper left corner.
        tie = np.hypot(left - x1, (top + height - y1)[:, None])
        row, column = np.unravel_index(np.argmin(hidden + _AWAY * (gap + 0.1 * tie) / height), hidden.shape)
        place = (float(left[column]), float(top[row]))
        if gap[row, column] > height / 2:
            x, y = min(max(place[0] + width / 2, x1), x2), min(max(place[1] + height / 2, y1), y2)
            end = min(max(x, place[0]), place[0] + width), min(max(y, place[1]), place[1] + height)
            pen.line([(x, y), end], color, unit)
        area = (*place, place[0] + width, place[1] + height)
        pen.rectangle(area, fill=color)
        pen.text((place[0] + pads, place[1] + pads), shown, _text_color(color), font)
        _add(cost, np.array(area) / cell, _ON_LABEL)


def _add(cost: npt.NDArray[np.float64], box: npt.NDArray[np.float64], weight: float) -> None:
    """Spread `weight` over the cells of a box."""
    x1, y1 = np.floor(box[:2]).astype(int)
    x2, y2 = np.maximum(np.ceil(box[2:]).astype(int), (x1 + 1, y1 + 1))
    part = cost[y1:y2, x1:x2]
    part += weight / max(part.size, 1)


def _text_color(color: str) -> str:
    """Black on light colors, white on dark ones."""
    red, green, blue = ImageColor.getrgb(color)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "white"


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
