"""Reads an image file as RGB, upright, on one scale."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from detloss.errors import DataError
from detloss.text import printable, reason

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""The formats that Pillow may decode. Any file may hold any format: an EPS named .jpg would start Ghostscript."""
SUFFIXES = frozenset({
    ".bmp", ".dib", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""Suffixes of image files, for searching folders."""
_ORIENTATION = 0x0112
"""EXIF tag of the orientation; values from 5 exchange width and height."""


@dataclass(frozen=True)
class Header:
    """The header of an image file."""

    size: tuple[int, int]
    """Width and height as stored."""
    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height, turned as its EXIF says."""
        return (self.size[1], self.size[0]) if self.orientation >= 5 else self.size


def read_header(file: Path) -> Header:
    """Read size and orientation of an image, without pixels.

    Raises:
        DataError: the file is not an image.
    """
    with _opened(file) as stored:
        orientation = stored.getexif().get(_ORIENTATION, 1)
        return Header(stored.size, orientation if orientation in range(1, 9) else 1)


def read_image(
    file: Path, size: tuple[int, int] | None = None, pixel_range: tuple[float, float] | None = None
) -> Tensor:
    """Read an image as RGB, ``(3, H, W)``.

    It is uint8, or float32 in [0, 1] if it does not have 8 bits.

    A camera may store a turned image with its EXIF orientation. Some annotation tools ignore it, so the size in the
    annotation file decides: the image is turned as its EXIF says, unless only the stored image has the annotated size.
    Grayscale, palette, CMYK and transparent images are converted.

    The scale never depends on the content: 16 bits are divided by 65535, and float values are in [0, 1].

    Args:
        file: One of `FORMATS`, with any suffix.
        size: Annotated (width, height); None takes the turned image as it is.
        pixel_range: The values that become 0 and 1 in all images; values beyond are clipped.

    Raises:
        DataError: the file is not a readable image, its size is not the annotated one, or its scale is unknown.
    """
    with _opened(file) as stored:
        turned = ImageOps.exif_transpose(stored)
        image = stored if size is not None and turned.size != size and stored.size == size else turned
        deep = image.mode.startswith(("I", "F"))
        # Before version 11 Pillow reads 16-bit PNG as 32-bit integers; it always scales deep PPM to 16 bits in them.
        sixteen = image.mode.startswith("I;16") or (image.mode == "I" and stored.format in ("PNG", "PPM"))
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        values = np.asarray(image if deep else image.convert("RGB"))
    height, width = values.shape[:2]
    if size is not None and (width, height) != size:
        raise DataError(
            f"The image {printable(str(file))} is {width} x {height} pixels, but its annotation file says "
            f"{size[0]} x {size[1]}. Fix: correct the annotation file, or use the image as it was annotated."
        )
    if deep or pixel_range:
        values = _scaled(values, sixteen=sixteen, pixel_range=pixel_range, file=file)
    pixels = torch.tensor(values)
    return pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels.expand(3, height, width)


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    name = printable(str(file))
    try:
        with Image.open(file, formats=FORMATS) as stored:
            yield stored
    except FileNotFoundError:
        raise DataError(f"The image {name} does not exist. Fix: restore it, or remove it from the data.") from None
    except Exception as error:  # decoders raise anything on a damaged file
        raise DataError(
            f"The image {name} cannot be read: {reason(error)}. Fix: repair it, or remove it from the data."
        ) from error


def _scaled(
    values: npt.NDArray[Any], *, sixteen: bool, pixel_range: tuple[float, float] | None, file: Path
) -> npt.NDArray[np.float32]:
    least, greatest = values.min(), values.max()
    known = pixel_range or sixteen or (values.dtype.kind == "f" and least >= 0 and greatest <= 1)
    if not known or np.isnan(least):
        raise DataError(
            f"The image {printable(str(file))} has {values.dtype} values from {least:g} to {greatest:g}. Fix: set "
            "`data.pixel_range: [low, high]` to black and white of all images of the data set; "
            "without it, float values must be in [0, 1], and integers have 8 or 16 bits."
        )
    low, high = pixel_range or (0, 65535 if sixteen else 1)
    return ((values.astype(np.float64) - low) / (high - low)).clip(0, 1).astype(np.float32)
