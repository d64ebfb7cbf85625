"""Synthetic images of ellipses, rectangles and triangles; needs no files.

Image i of a seed is always the same. Objects differ in size, aspect ratio, tilt and color, and may partly cover each
other. The background is textured, and the whole image is noisy. A box is exact: it surrounds the visible pixels of its
object.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from detloss.training.data.coco import Annotations
from detloss.training.data.dataset import DetectionDataset
from detloss.training.settings import ShapesConfig

SHAPES = ("ellipse", "rectangle", "triangle")
"""Names of labels 1, 2, 3."""

_SIDES = (0.18, 0.55)
"""Least and greatest length of an object's longer side, as fractions of the image's side."""
_ASPECT = 2.5
"""Greatest ratio of an object's sides."""
_LEAST_SIDE = 11
"""Least length of an object's shorter side in pixels, before tilting: a small box for COCO."""
_TILT = math.radians(20)
"""Greatest tilt of an object to either side."""
_COVERED = (0.0, 0.3)
"""Greatest part of an object that others may cover, in each half of the images."""
_EMPTY = 0.1
"""Share of images without an object."""
_TRIES = 20
"""Random places that are tried for an object before it is dropped."""
_CONTRAST = 90
"""Least difference between an object's and the background's color in one channel, of 255."""
_TEXTURE = (3, 20)
"""Least and greatest standard deviation of the background's texture, of 255."""
_COARSE = 6
"""Patches of the texture on a side."""
_NOISE = 6
"""Standard deviation of the noise on the whole image, of 255."""

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


class ShapesDataset(DetectionDataset):
    """Synthetic images, all made from one seed and kept in memory.

    Args:
        config: How many, how large and from which seed.
        part: ``"train"``, ``"val"`` or ``"test"``: they share no image.
    """

    def __init__(self, config: ShapesConfig, part: str = "train") -> None:
        self.config = config
        # A separate stream of random numbers for each part.
        number, stream = {"train": (config.train, 0), "val": (config.val, 1), "test": (config.test, 2)}[part]
        self._made = [synthesize((config.seed, stream, i), config.size, config.max_objects) for i in range(number)]
        super().__init__(self._annotations)

    @cached_property
    def _annotations(self) -> Annotations:
        size = self.config.size
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (_, boxes, labels) in enumerate(self._made, start=1):
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
        return torch.from_numpy(self._made[index][0]).permute(2, 0, 1)


def synthesize(
    seed: int | tuple[int, ...], size: int, max_objects: int, *, noise: bool = True
) -> tuple[Pixels, list[Box], list[int]]:
    """Make one image of `size` pixels a side; the seed decides everything.

    The number of objects is uniform from 1 to `max_objects`, and 0 in one image of ten; without room for more it is
    smaller. Without `noise` all areas have one color.

    Returns:
        ``(size, size, 3)`` RGB, each object's box (x1, y1, x2, y2; the last two exclusive) and label (from 1).
    """
    random = np.random.default_rng(seed)
    ground = random.integers(30, 226, 3)
    pixels = ground + _texture(random, size) * noise
    wanted = 0 if random.uniform() < _EMPTY else int(random.integers(min(1, max_objects), max_objects + 1))
    covered = random.choice(_COVERED)
    whole: list[int] = []
    visible: list[Mask] = []
    labels: list[int] = []
    for _ in range(wanted * _TRIES):
        if len(labels) == wanted:
            break
        label = int(random.integers(1, len(SHAPES) + 1))
        mask = _mask(random, SHAPES[label - 1], size)
        # The new object lies on top.
        left = [other & ~mask for other in visible]
        if any(seen.sum() < (1 - covered) * area for seen, area in zip(left, whole, strict=True)):
            continue
        whole, visible, labels = [*whole, int(mask.sum())], [*left, mask], [*labels, label]
        color = random.integers(0, 256, 3)
        while np.abs(color - ground).max() < _CONTRAST:
            color = random.integers(0, 256, 3)
        pixels[mask] = color
    pixels += random.normal(0, _NOISE, pixels.shape) * noise
    return np.clip(pixels, 0, 255).astype(np.uint8), [_box(seen) for seen in visible], labels


def _texture(random: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """``(size, size, 3)`` patches of light and shade."""
    patches = random.normal(0, 1, (_COARSE, _COARSE)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
    return np.repeat((smooth * random.uniform(*_TEXTURE))[:, :, None], 3, axis=2)


def _mask(random: np.random.Generator, shape: str, size: int) -> Mask:
    """The pixels of a random object of this shape, inside the image."""
    long = size * random.uniform(*_SIDES)
    short = max(long / random.uniform(1, _ASPECT), _LEAST_SIDE)
    width, height = (long, short) if random.uniform() < 0.5 else (short, long)
    if shape == "ellipse":
        angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif shape == "rectangle":
        outline = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
    else:
        outline = np.array([(0, -1), (1, 1), (-1, 1)], dtype=float)
    tilt = random.uniform(-_TILT, _TILT)
    turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    corners = outline * (width / 2, height / 2) @ turn
    least, greatest = -corners.min(axis=0), size - 1 - corners.max(axis=0)
    corners += least + random.uniform(size=2) * np.maximum(greatest - least, 0)
    mask = Image.new("1", (size, size))
    ImageDraw.Draw(mask).polygon([(x, y) for x, y in corners.tolist()], fill=1)
    return np.asarray(mask)


def _box(mask: Mask) -> Box:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
