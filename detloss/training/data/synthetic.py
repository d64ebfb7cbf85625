"""Drawn shapes: a data set of circles, squares and triangles that needs no files.

Picture i of a seed is always the same. Each shape has a colour, a size and a place of its own on a noisy background;
squares and triangles are turned a little. Boxes are exact: they are read off the drawn pixels.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.v2 import functional

from detloss.training.data.coco import Annotations
from detloss.training.data.dataset import DetectionDataset
from detloss.training.settings import ShapesConfig

SHAPES = ("circle", "square", "triangle")
"""Names of labels 1, 2, 3."""

_SIZES = (0.25, 0.55)
"""Least and greatest diameter of a shape, as fractions of the picture's side."""
_GAP = 0.02
"""Least distance between two shapes' circumscribed circles, as a fraction of the side."""
_CONTRAST = 70
"""Least difference between a shape's and the background's colour in one channel, of 255."""
_GRAIN = (3, 15)
"""Least and greatest standard deviation of the background's noise, of 255."""
_SENSOR_NOISE = 6
"""Standard deviation of the noise on the whole picture, of 255."""
_EMPTY = 0.1
"""Share of pictures without a shape."""
_TURN = math.radians(20)
"""Greatest turn of a square or a triangle to either side."""
_TRIES = 20
"""Random places that are tried for a shape before it is left out."""

Box = tuple[int, int, int, int]


class ShapesDataset(DetectionDataset):
    """Drawn shapes, all made from one seed.

    Args:
        config: How many, how large and from which seed.
        part: ``"train"`` or ``"val"``: they share no picture.
    """

    def __init__(self, config: ShapesConfig, part: str = "train") -> None:
        self.config = config
        # A stream of random numbers of its own for each part.
        self.stream = {"train": 0, "val": 1}[part]
        number = config.train if part == "train" else config.val
        self._drawn = [draw((config.seed, self.stream, i), config.size, config.max_objects) for i in range(number)]
        super().__init__(self._annotations)

    @cached_property
    def _annotations(self) -> Annotations:
        size = self.config.size
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (_, boxes, labels) in enumerate(self._drawn, start=1):
            images.append({"id": number, "file_name": f"{number:05d}.png", "width": size, "height": size})
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label,
                        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                        "area": float((x2 - x1) * (y2 - y1)),
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": label, "name": name} for label, name in enumerate(SHAPES, start=1)]
        return Annotations(
            {"info": {}, "images": images, "annotations": annotations, "categories": categories},
            category_ids=(1, 2, 3),
            image_ids=tuple(range(1, len(images) + 1)),
        )

    def image(self, index: int) -> Tensor:
        """The synthetic image number `index`."""
        image: Tensor = functional.pil_to_tensor(self._drawn[index][0])
        return image


def draw(
    seed: int | tuple[int, ...], size: int, max_objects: int = 4, *, noise: bool = True
) -> tuple[Image.Image, list[Box], list[int]]:
    """Draw one image of `size` pixels a side; the seed decides everything.

    The number of shapes is uniform from 1 to `max_objects`, and 0 in one image of ten. Noise disturbs the colors.

    Returns:
        The RGB image, each shape's box (x1, y1, x2, y2; the last two exclusive) and label (from 1).
    """
    random = np.random.default_rng(seed)
    background = random.integers(30, 226, 3)
    grain = random.normal(0, random.uniform(*_GRAIN), (size, size, 3)) * noise
    pixels = np.clip(background + grain, 0, 255)
    circles: list[tuple[float, float, float]] = []
    boxes: list[Box] = []
    labels: list[int] = []
    wanted = 0 if random.uniform() < _EMPTY else int(random.integers(min(1, max_objects), max_objects + 1))
    for _ in range(wanted):
        circle = _place(random, size, circles)
        if circle is None:
            continue
        label = int(random.integers(1, len(SHAPES) + 1))
        mask = _shape(SHAPES[label - 1], circle, random.uniform(-_TURN, _TURN), size)
        box = mask.getbbox()
        if box is None:
            continue
        colour = random.integers(0, 256, 3)
        while np.abs(colour - background).max() < _CONTRAST:
            colour = random.integers(0, 256, 3)
        pixels[np.asarray(mask) > 0] = colour
        circles.append(circle)
        boxes.append(box)
        labels.append(label)
    pixels = np.clip(pixels + random.normal(0, _SENSOR_NOISE, pixels.shape) * noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8)), boxes, labels


def _place(
    random: np.random.Generator, size: int, circles: list[tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    """A free circle (centre x, centre y, radius) inside the picture, or None."""
    for _ in range(_TRIES):
        radius = size * random.uniform(*_SIZES) / 2
        x, y = random.uniform(radius, size - radius, 2)
        if all(math.hypot(x - cx, y - cy) > radius + r + size * _GAP for cx, cy, r in circles):
            return float(x), float(y), float(radius)
    return None


def _shape(name: str, circle: tuple[float, float, float], turn: float, size: int) -> Image.Image:
    """The filled shape inscribed in a circle, as a black and white mask."""
    x, y, radius = circle
    mask = Image.new("L", (size, size))
    pen = ImageDraw.Draw(mask)
    if name == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        corners = {"square": 4, "triangle": 3}[name]
        # A square stands on a side, a triangle points upwards.
        start = turn + {"square": math.pi / 4, "triangle": -math.pi / 2}[name]
        angles = [start + 2 * math.pi * corner / corners for corner in range(corners)]
        pen.polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=255)
    return mask
