"""EXIF orientation: do boxes refer to the turned or stored image?

The annotated size decides, if it fits only one of the two (`images.read_image`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detloss.errors import DataError
from detloss.text import clipped, printable
from detloss.training.data.images import read_header


def turned_otherwise(
    boxes: npt.NDArray[np.float64],
    owners: npt.NDArray[np.int64],
    records: Sequence[Mapping[str, Any]],
    file: Path,
    images: Path,
) -> tuple[str, ...]:
    """Warn of images whose boxes fit only the image turned.

    Only the headers of images with such boxes are read.

    Args:
        boxes: ``(N, 6)`` x, y, width, height, and width and height of the image, in pixels.
        owners: ``(N,)`` place of each box's image in `records`.
        records: The images of the annotation file.
        file: The annotation file.
        images: Folder of the images.
    """
    with np.errstate(over="ignore"):
        ends = boxes[:, :2] + boxes[:, 2:4]
    # One pixel of tolerance: some tools count pixels from 1, others round outward.
    fits, fits_turned = ((ends <= size + 1).all(axis=1) for size in (boxes[:, 4:], boxes[:, :3:-1]))
    outside, outside_turned = (np.bincount(owners, ~each, len(records)) for each in (fits, fits_turned))
    suspects = [records[place]["file_name"] for place in np.flatnonzero((outside > 0) & (outside_turned == 0)).tolist()]
    found = [name for name in suspects if _exchanges_sides(images / name)]
    if not found:
        return ()
    what = "1 image has" if len(found) == 1 else f"{len(found)} images have"
    warning = (
        f"{printable(str(file))}: {what} boxes outside of the annotated size that fit with width and height exchanged, "
        f"and an EXIF orientation that exchanges them; the first is {clipped(found[0])}. Fix: exchange `width` and "
        "`height` of these images in the annotation file."
    )
    return (warning,)


@dataclass(frozen=True)
class Orientations:
    """How a data set's images are turned or mirrored by EXIF."""

    as_exif_says: int = 0
    as_stored: int = 0
    """Annotated with the size of only the stored image."""
    unknown: tuple[str, ...] = ()
    """Read as EXIF says. Both sizes are equal, so it is unknown which of the two was annotated."""


def orientations(
    records: Sequence[Mapping[str, Any]], images: Path, track: Callable[[Sequence[Any]], Iterable[Any]] = iter
) -> Orientations:
    """Read the header of every image of a COCO dictionary.

    An unreadable image counts as upright.
    """
    turned = stored = 0
    unknown: list[str] = []
    for record in track(records):
        try:
            header = read_header(images / record["file_name"])
        except DataError:
            continue
        if header.orientation == 1:
            continue
        if header.shown == header.size:
            unknown.append(record["file_name"])
        elif (record["width"], record["height"]) == header.size:
            stored += 1
        else:
            turned += 1
    return Orientations(turned, stored, tuple(unknown))


def _exchanges_sides(file: Path) -> bool:
    try:
        return read_header(file).orientation >= 5
    except DataError:
        return False
