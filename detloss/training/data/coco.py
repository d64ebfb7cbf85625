"""Reading COCO annotation files as they are found in the wild.

What comes out is clean: images are numbered 1..M in the file's order, categories 1..K in the order of their ids (so a
category's number is its label; 0 is the background), annotations 1..N. The file itself is never changed. What cannot
be trained on is left out and reported, annotation by annotation.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detloss.errors import DataError
from detloss.training.data.images import read_picture

__all__ = ["LEAST_SIDE", "Annotations", "LeftOut", "is_tiny", "read_annotations"]

LEAST_SIDE = 1.0
"""Boxes that are narrower or lower than this, in pixels of their image, are no targets in any split.

They stay positive after every resize: float32 tells x from x + 1 up to x = 2^24, and scaling keeps that ratio.
"""


@dataclass(frozen=True)
class LeftOut:
    """One annotation that is not trained on, and why."""

    file: Path
    annotation: object
    """Its id as written in the file."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: annotation {self.annotation!r}: {self.reason}"


@dataclass(frozen=True)
class Annotations:
    """A cleaned annotation file."""

    coco: dict[str, Any]
    """COCO dictionary with clean integer ids; boxes stay as written, crowd boxes included."""
    categories: tuple[str, ...]
    """Name of label 1, 2, ..."""
    category_ids: tuple[object, ...]
    """The file's own id of label 1, 2, ..."""
    image_ids: tuple[object, ...]
    """The file's own id of image 1, 2, ..."""
    left_out: tuple[LeftOut, ...] = field(repr=False, default=())


def read_annotations(file: Path, images: Path) -> Annotations:
    """Read and clean one COCO instances file.

    Args:
        file: The JSON file.
        images: Folder of the pictures; each listed picture must be there.

    Raises:
        DataError: the file is no COCO JSON, lists no image, or a picture that it lists is missing.
    """
    content = _load(file)
    records, image_ids = _images(content, file, images)
    categories, category_ids = _categories(content, file)
    numbers = {str(original): number for number, original in enumerate(image_ids, start=1)}
    labels = {str(original): label for label, original in enumerate(category_ids, start=1)}
    annotations: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for position, entry in enumerate(_entries(content, "annotations", file)):
        identity = entry.get("id", f"number {position + 1} of the file")
        number, label = numbers.get(str(entry.get("image_id"))), labels.get(str(entry.get("category_id")))
        if number is None:
            reason: str | None = f"image_id {entry.get('image_id')!r} is not among the images"
        elif label is None:
            reason = f"category_id {entry.get('category_id')!r} is not among the categories"
        else:
            reason = _fault(entry.get("bbox"), records[number - 1])
        if reason is not None or number is None or label is None:
            left_out.append(LeftOut(file, identity, str(reason)))
            continue
        annotations.append(_cleaned(entry, len(annotations) + 1, number, label))
        if not annotations[-1]["iscrowd"] and is_tiny(annotations[-1]["bbox"], records[number - 1]):
            reason = f"bbox {entry['bbox']} is less than {LEAST_SIDE:g} px wide or high: no target, only evaluated"
            left_out.append(LeftOut(file, identity, reason))
    coco = {
        "info": {},
        "images": records,
        "annotations": annotations,
        "categories": [{"id": label, "name": name} for label, name in enumerate(categories, start=1)],
    }
    return Annotations(coco, categories, category_ids, image_ids, tuple(left_out))


def is_tiny(box: Sequence[float], record: Mapping[str, Any]) -> bool:
    """Whether a box x, y, width, height, clipped to its image, is below `LEAST_SIDE`."""
    x, y, width, height = box
    inside: list[float] = [
        min(x + width, record["width"]) - max(x, 0),
        min(y + height, record["height"]) - max(y, 0),
    ]
    return min(inside) < LEAST_SIDE


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; `annotations` is the path of a COCO JSON file.") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}; a COCO file is an object with images, annotations.")
    return content


def _entries(content: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        found = "no such key" if key not in content else f"a {type(entries).__name__}"
        raise DataError(f"{file}: {key!r} must be a list of objects, as in COCO instances files; found {found}.")
    return entries


def _images(content: dict[str, Any], file: Path, images: Path) -> tuple[list[dict[str, Any]], tuple[object, ...]]:
    entries = _entries(content, "images", file)
    if not entries:
        raise DataError(f"{file} lists no image.")
    for number, entry in enumerate(entries, start=1):
        if "id" not in entry:
            raise DataError(f"{file}: image number {number} has no 'id'.")
        if not isinstance(entry.get("file_name"), str):
            raise DataError(f"{file}: image number {number} has no 'file_name' that is text.")
    ids = tuple(entry["id"] for entry in entries)
    _require_unique(ids, "image", file)
    names = [entry["file_name"] for entry in entries]
    # Path.is_file raises where a name is too long.
    if missing := [name for name in names if not os.path.isfile(images / name)]:  # noqa: PTH113
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{len(missing)} of {len(entries)} pictures listed in {file} are not in {images}: {first}. "
            "`images` is the folder that the file names are relative to."
        )
    return [_record(entry, number, images) for number, entry in enumerate(entries, start=1)], ids


def _record(entry: dict[str, Any], number: int, images: Path) -> dict[str, Any]:
    size: list[Any] = [entry.get("width"), entry.get("height")]
    if not all(_is_finite(side) and side > 0 for side in size):
        size = list(read_picture(images / entry["file_name"]).size)
    return {"id": number, "file_name": entry["file_name"], "width": int(size[0]), "height": int(size[1])}


def _categories(content: dict[str, Any], file: Path) -> tuple[tuple[str, ...], tuple[object, ...]]:
    entries = _entries(content, "categories", file)
    if not entries or not all(isinstance(entry.get("id"), (int, float, str)) for entry in entries):
        raise DataError(
            f"{file}: 'categories' must list at least one category, each with an 'id' that is a number or text."
        )
    _require_unique(tuple(entry["id"] for entry in entries), "category", file)
    # Numbers in numeric order, then text: the same labels for every split of a data set, whatever its file's order.
    entries = sorted(entries, key=lambda entry: (isinstance(entry["id"], str), entry["id"]))
    return tuple(str(entry.get("name", entry["id"])) for entry in entries), tuple(entry["id"] for entry in entries)


def _require_unique(ids: tuple[object, ...], kind: str, file: Path) -> None:
    seen: set[str] = set()
    for identity in map(str, ids):
        if identity in seen:
            raise DataError(f"{file}: {kind} id {identity!r} occurs twice.")
        seen.add(identity)


def _fault(box: object, record: dict[str, Any]) -> str | None:
    """Why a box (x, y, width, height in pixels) cannot be trained on, or None."""
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return f"bbox {box!r} is not four numbers [x, y, width, height]"
    x, y, width, height = box
    if not all(map(_is_finite, box)):
        return f"bbox {box} is not finite"
    if width <= 0 or height <= 0:
        return f"bbox {box} has no area"
    if min(x + width, record["width"]) <= max(x, 0) or min(y + height, record["height"]) <= max(y, 0):
        return f"bbox {box} lies outside its {record['width']} x {record['height']} picture"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold; JSON has integers of any length."""
    return _is_number(value) and abs(value) <= sys.float_info.max


def _cleaned(entry: dict[str, Any], number: int, image: int, label: int) -> dict[str, Any]:
    box = [float(value) for value in entry["bbox"]]
    area: Any = entry.get("area")
    cleaned = {
        "id": number,
        "image_id": image,
        "category_id": label,
        "bbox": box,
        "area": float(area) if _is_finite(area) else box[2] * box[3],
        "iscrowd": int(entry.get("iscrowd") in (1, "1")),  # True is 1
    }
    if entry.get("segmentation"):
        cleaned["segmentation"] = entry["segmentation"]
    return cleaned
