"""Reading a picture file as RGB, the right way up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from detloss.errors import DataError

__all__ = ["FORMATS", "read_picture"]

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What Pillow may decode. Any file may hold any format: for an EPS named .jpg it would start Ghostscript."""


def read_picture(file: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Read a picture as 8-bit RGB.

    A camera may store a picture turned and say so in its EXIF orientation. Annotation tools differ in whether they
    look at it, so the size in the annotation file decides: the picture is turned as its EXIF says, unless only the
    stored, unturned picture has the annotated size. Grayscale, palette, 16-bit and transparent pictures are converted.

    Args:
        file: One of `FORMATS`, whatever its name ends in.
        size: Annotated (width, height); None takes the turned picture as it is.

    Raises:
        DataError: the file is no readable picture, or its size is not the annotated one.
    """
    try:
        with Image.open(file, formats=FORMATS) as stored:
            turned = ImageOps.exif_transpose(stored)
            picture = stored if size is not None and turned.size != size and stored.size == size else turned
            rgb = _as_rgb(picture)
    except FileNotFoundError:
        raise DataError(f"The picture {file} does not exist.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"The picture {file} cannot be read: {error}. Mend it, or take it out of the data.") from error
    if size is not None and rgb.size != size:
        raise DataError(
            f"The picture {file} is {rgb.width} x {rgb.height} pixels, but its annotation file says "
            f"{size[0]} x {size[1]}: its boxes would lie in the wrong place. Was it resized after annotation?"
        )
    return rgb


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        # 16-bit grayscale: Pillow's own conversion clips at 255 instead of scaling.
        values = np.asarray(picture, dtype=np.float64)
        greatest = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, greatest) * (255 / greatest)).astype(np.uint8)).convert("RGB")
    if picture.mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")
