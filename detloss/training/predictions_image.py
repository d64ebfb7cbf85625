"""Drawing predictions beside ground truth."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2 import functional

from detloss.training.data.dataset import DetectionDataset
from detloss.training.evaluation import Detections

_COLOURS = ("#e41a1c", "#377eb8", "#2f8f2f", "#984ea3", "#d95f02", "#a65628", "#c51b7d", "#008b8b")
"""Colours of labels 1, 2, ..., repeated: dark enough for white text on them."""
_LEAST_SCORE = 0.5
"""Detections below this score are not drawn."""
_SIDE = 320
"""Longer side of a drawn picture in pixels: boxes of small pictures stay apart from their labels."""
_FONT_SIZE = 14
_MARGIN = 8
"""White pixels around pictures."""
_PAIRS_A_ROW = 2


def draw_predictions(
    dataset: DetectionDataset, detections: Sequence[Detections], least_score: float = _LEAST_SCORE
) -> Image.Image:
    """Draw pairs of images: ground truth left, predictions of at least `least_score` with their scores right."""
    pairs = [_pair(dataset, found, least_score) for found in detections]
    width, height = (max(pair.size[axis] for pair in pairs) for axis in (0, 1))
    columns = min(_PAIRS_A_ROW, len(pairs))
    canvas = Image.new("RGB", (columns * width, -(-len(pairs) // columns) * height), "white")
    for place, pair in enumerate(pairs):
        canvas.paste(pair, (place % columns * width, place // columns * height))
    return canvas


def _pair(dataset: DetectionDataset, found: Detections, least_score: float) -> Image.Image:
    index = found.image_id - 1
    picture = functional.to_pil_image(dataset.image(index))
    truth = dataset[index][1]
    true_labels = truth["labels"].tolist()
    kept = found.scores >= least_score
    labels, scores = found.labels[kept].tolist(), found.scores[kept].tolist()
    names = [f"{dataset.categories[label - 1]} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    sides = [
        _drawn(picture, truth["boxes"].tolist(), true_labels, [dataset.categories[label - 1] for label in true_labels]),
        _drawn(picture, found.boxes[kept].tolist(), labels, names),
    ]
    width, height = sides[0].size
    title = _FONT_SIZE + _MARGIN
    canvas = Image.new("RGB", (2 * (width + _MARGIN) + _MARGIN, height + title + _MARGIN), "white")
    pen = ImageDraw.Draw(canvas)
    for left, side, text in zip((0, width + _MARGIN), sides, ("ground truth", "predictions"), strict=True):
        pen.text((left + _MARGIN, title), text, "black", _font(), anchor="lb")
        canvas.paste(side, (left + _MARGIN, title))
    return canvas


def _drawn(picture: Image.Image, boxes: list[list[float]], labels: list[int], names: Sequence[str]) -> Image.Image:
    scale = _SIDE / max(picture.size)
    canvas = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    pen, font = ImageDraw.Draw(canvas), _font()
    for box, label, name in zip(boxes, labels, names, strict=True):
        colour = _COLOURS[(label - 1) % len(_COLOURS)]
        x1, y1, x2, y2 = (round(value * scale) for value in box)
        pen.rectangle((x1, y1, max(x2, x1), max(y2, y1)), outline=colour, width=2)
        # The label sits on the box, or in it where there is no room above.
        anchor = (x1, y1) if y1 >= _FONT_SIZE + 4 else (x1, y1 + _FONT_SIZE + 4)
        pen.rectangle(pen.textbbox(anchor, name, font, anchor="lb"), fill=colour)
        pen.text(anchor, name, "white", font, anchor="lb")
    return canvas


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)
