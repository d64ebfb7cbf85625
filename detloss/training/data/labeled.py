"""Labeled images of foreign formats, before they become COCO files."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from detloss.errors import DataError
from detloss.text import one_line, printable, reason
from detloss.training.data.images import SUFFIXES, read_header

Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Yields the items of a sequence, and may draw a progress bar."""

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of splits in the formats, in lower case -> names here."""


@dataclass(frozen=True)
class LabeledBox:
    """One object of an image."""

    place: str
    """Its place in the source, for messages."""
    name: str
    """Its class."""
    box: tuple[float, float, float, float]
    """x, y, width, height in pixels."""
    crowd: bool = False
    """Not a target; the evaluation ignores detections in it."""
    polygon: Sequence[float] | None = None
    """Its outline x1, y1, x2, y2, ... in pixels."""


@dataclass(frozen=True)
class LabeledImage:
    """An image that can be read, and its objects."""

    file: Path
    size: tuple[int, int]
    """Width and height that the boxes refer to."""
    boxes: tuple[LabeledBox, ...] = ()


@dataclass(frozen=True)
class Unused:
    """A skipped image or box."""

    where: str
    reason: str
    """The same text for all with the same reason."""

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.reason}")


@dataclass(frozen=True)
class LabeledData:
    """The content of one source."""

    splits: Mapping[str, Sequence[LabeledImage]]
    names: tuple[str, ...]
    """Classes: label 1, 2, ..."""
    skipped: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences on how the source was interpreted."""


def usable_size(
    file: Path, skipped: list[Unused], annotated: tuple[float, ...] | None = None
) -> tuple[int, int] | None:
    """The size that an image's boxes refer to.

    As annotated, else as the image is shown. None if the image cannot be read or its size is not the annotated one;
    `skipped` gets the reason.
    """
    try:
        header = read_header(file)
    except DataError as error:
        skipped.append(Unused(f"{file} ({one_line(error.__cause__ or error)})", "the image cannot be read"))
        return None
    if annotated is None or min(annotated) <= 0:
        return header.shown
    size = (int(annotated[0]), int(annotated[1]))
    if size in (header.size, header.shown):
        return size
    found = f"{header.size[0]} x {header.size[1]}, annotated {size[0]} x {size[1]}"
    skipped.append(Unused(f"{file} ({found})", "the image does not have its annotated size"))
    return None


def images_under(folder: Path) -> list[Path]:
    """All image files in a folder and its subfolders, by name."""
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]
    return sorted(found)


def read_xml(file: Path) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{printable(str(file))} cannot be read as XML: {reason(error)}. Fix: repair it.") from error


def numbers(texts: Iterable[str | None]) -> tuple[float, ...] | None:
    """Finite numbers, or None if one is missing or not finite."""
    try:
        found = tuple(float(text or "") for text in texts)
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None
