"""Reads and cleans COCO annotation files.

Images are numbered 1..M in the file's order, categories 1..K in the order of their ids (a category's number is its
label; 0 is the background), annotations 1..N. The file itself never changes. Unusable annotations are skipped and
reported one by one.
"""

import os
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detloss.errors import DataError
from detloss.text import clipped, printable
from detloss.training.data.ids import Key, key_of, places_of
from detloss.training.data.images import read_header
from detloss.training.data.orientation import turned_otherwise
from detloss.training.data.records import ImageRecord, is_number, read_records, shown
from detloss.training.data.segmentations import segmentation_fault

LEAST_SIDE = 1.0
"""Smaller sides of a box, in pixels of its image, are not targets in any split.

Larger ones stay positive after every resize: float32 distinguishes x and x + 1 up to x = 2^24, and scaling keeps that.
"""


@dataclass(frozen=True)
class Skipped:
    """One annotation that is not trained on, and why."""

    file: Path
    annotation: object
    """Its id as written in the file."""
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.file}: annotation {shown(self.annotation)}: {self.reason}")


@dataclass(frozen=True)
class Annotations:
    """A cleaned annotation file."""

    coco: dict[str, Any]
    """COCO dictionary with clean integer ids; boxes stay as written, crowd boxes included."""
    category_ids: tuple[object, ...]
    """The file's own id of label 1, 2, ..."""
    image_ids: tuple[object, ...]
    """The file's own id of image 1, 2, ..."""
    skipped: tuple[Skipped, ...] = field(repr=False, default=())
    warnings: tuple[str, ...] = field(repr=False, default=())
    """Warnings on what looks wrong but may be right."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Name of label 1, 2, ..."""
        return tuple(category["name"] for category in self.coco["categories"])


def read_annotations(file: Path, images: Path | None, *, masks: bool = False, bbox_check: bool = True) -> Annotations:
    """Read and clean one COCO instances file.

    Args:
        file: The JSON file.
        images: Folder of the images; each listed image must be there. None: no image is looked at.
        masks: Read segmentations too; a box without a usable one is not a target. Without masks they are never read.
        bbox_check: Refuse a file whose boxes look normalized, or like corners.

    Raises:
        DataError: the file is not COCO JSON or lists no image, a listed image is missing, or its boxes are not x, y,
            width and height in pixels.
    """
    content = read_records(file, masks=masks)
    entries = content["annotations"]
    # Numbers in numeric order, then text: every split of a data set gets the same labels.
    categories = sorted(content["categories"], key=lambda category: (isinstance(category["id"], str), category["id"]))
    numbers = _places(content["images"], entries, "image", file)
    labels = _places(categories, entries, "category", file)
    records = _image_records(content["images"], file, images)
    annotations: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    boxes, owners = array("d"), array("q")
    for position, entry in enumerate(entries, start=1):
        image, category, box = (entry.get(key) for key in ("image_id", "category_id", "bbox"))
        number, label = numbers.get(key_of(image)), labels.get(key_of(category))
        if number is None:
            reason: str | None = f"image_id {shown(image)} is not among the images"
        elif label is None:
            reason = f"category_id {shown(category)} is not among the categories"
        elif (reason := _form_fault(box)) is None:
            boxes.extend((*box, records[number - 1]["width"], records[number - 1]["height"]))
            owners.append(number - 1)
            reason = place_fault(box, records[number - 1])
        if reason is None and number and label:
            annotations.append(_cleaned(entry, len(annotations) + 1, number, label))
            if not annotations[-1]["iscrowd"]:
                reason = _target_fault(box, entry.get("segmentation"), records[number - 1], masks=masks)
                if masks and reason is None:
                    annotations[-1]["segmentation"] = entry["segmentation"]
        if reason is not None:
            skipped.append(Skipped(file, entry.get("id", f"number {position} of the file"), reason))
    rows = np.asarray(boxes).reshape(-1, 6)
    if bbox_check:
        _require_pixels(rows, file)
    warnings = turned_otherwise(rows, np.asarray(owners, dtype=np.int64), records, file, images) if images else ()
    coco = {
        "info": {},
        "images": records,
        "annotations": annotations,
        "categories": [
            {"id": label, "name": category.get("name", str(category["id"]))}
            for label, category in enumerate(categories, start=1)
        ],
    }
    category_ids, image_ids = (tuple(entry["id"] for entry in listed) for listed in (categories, content["images"]))
    return Annotations(coco, category_ids, image_ids, tuple(skipped), warnings)


def is_tiny(box: Sequence[float], record: Mapping[str, Any]) -> bool:
    """Whether a box x, y, width, height is below `LEAST_SIDE` after clipping."""
    return min(_inside(box, record)) < LEAST_SIDE


def place_fault(box: Sequence[float], record: Mapping[str, Any]) -> str | None:
    """Why four numbers are not a box in their image, or None."""
    if box[2] <= 0 or box[3] <= 0:
        return f"bbox {shown(box)} has no area"
    if min(_inside(box, record)) <= 0:
        return f"bbox {shown(box)} lies outside its {record['width']} x {record['height']} image"
    return None


def general(reason: str) -> str:
    """A reason without its values, the same for all such annotations."""
    return _VALUES.sub(lambda match: f"{match[1]} " if match[1] else "", reason)


_VALUES = re.compile(r"^(\w+) .*? (?=(?:is|has|lies|covers|belongs) )|\d+ x \d+ ")


def _inside(box: Sequence[float], record: Mapping[str, Any]) -> tuple[float, float]:
    """Width and height of a box inside its image; negative if outside."""
    x, y, width, height = box
    return min(x + width, record["width"]) - max(x, 0), min(y + height, record["height"]) - max(y, 0)


def _places(
    listed: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], kind: str, file: Path
) -> dict[Key | None, int]:
    """The place of each image or category, by its reference."""
    ids = [key_of(entry["id"]) for entry in listed]
    # A number and its text count as one id: a reference could mean either.
    if repeated := [identity for identity, count in Counter(map(str, ids)).items() if count > 1]:
        raise DataError(
            f"{file}: {len(repeated)} {kind} ids occur more than once, the first is {shown(repeated[0])}. "
            f"Fix: give each {kind} its own id."
        )
    return places_of(ids, (key_of(entry.get(f"{kind}_id")) for entry in annotations))


def _image_records(entries: Sequence[ImageRecord], file: Path, images: Path | None) -> list[dict[str, Any]]:
    if images is None:
        return [_described(number, entry, file) for number, entry in enumerate(entries, start=1)]
    names = [_file_name(entry["file_name"], images) for entry in entries]
    if missing := [entry["file_name"] for entry, name in zip(entries, names, strict=True) if name is None]:
        first = ", ".join(map(clipped, missing[:3])) + (", ..." if len(missing) > 3 else "")
        there = "" if images.is_dir() else f", which is {'not a folder' if images.exists() else 'missing'}"
        raise DataError(
            f"{len(missing)} of {len(entries)} images listed in {file} are not in {images}{there}: {first}. "
            "Fix: set `images` to the folder that the file names are relative to."
        )
    records: list[dict[str, Any]] = []
    for number, (entry, name) in enumerate(zip(entries, names, strict=True), start=1):
        size = _size(entry) or read_header(images / str(name)).shown
        records.append({"id": number, "file_name": name, "width": int(size[0]), "height": int(size[1])})
    return records


def _described(number: int, entry: ImageRecord, file: Path) -> dict[str, Any]:
    """The record of an image that is not looked at."""
    size = _size(entry)
    if size is None:
        raise DataError(
            f"{file}: image {shown(entry['id'])} has no size (found width {shown(entry.get('width'))} and height "
            f"{shown(entry.get('height'))}, expected numbers above 0). Fix: write both."
        )
    return {"id": number, "file_name": entry["file_name"], "width": int(size[0]), "height": int(size[1])}


def _size(entry: ImageRecord) -> tuple[float, float] | None:
    size: tuple[Any, Any] = (entry.get("width"), entry.get("height"))
    return size if all(is_number(side) and side > 0 for side in size) else None


def _file_name(name: str, images: Path) -> str | None:
    """The name of an image's file, Windows names too, or None."""
    # Path.is_file raises if a name is too long.
    return next((one for one in (name, name.replace("\\", "/")) if os.path.isfile(images / one)), None)  # noqa: PTH113


def _form_fault(box: object) -> str | None:
    """Why a value is not four finite numbers, or None."""
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(side, (int, float)) for side in box)
    if not isinstance(box, list) or not numbers or any(isinstance(side, bool) for side in box):
        return f"bbox {shown(box)} is not four numbers [x, y, width, height]"
    if not all(map(is_number, box)):
        return f"bbox {shown(box)} is not finite"
    return None


def _require_pixels(boxes: npt.NDArray[np.float64], file: Path) -> None:
    """Refuse boxes in another format.

    A row is a box and its image's width and height.
    """
    x, y, width, height, image_width, image_height = boxes.T
    # One pixel of tolerance: some tools count pixels from 1, others round outward.
    with np.errstate(over="ignore"):
        beyond = int(((x + width > image_width + 1) | (y + height > image_height + 1)).sum())
    ends = boxes[:, 2:4]
    corners = (boxes[:, :2] >= -1) & (boxes[:, :2] <= ends) & (ends <= boxes[:, 4:] + 1)
    if len(boxes) and ((boxes[:, :4] >= 0) & (boxes[:, :4] <= 1)).all():
        looks, repair = "normalized: all lie in [0, 1]", "multiply them by the width and height of their image"
    elif 2 * beyond > len(boxes) and corners.all():
        looks = f"like corners: {beyond} of {len(boxes)} reach out of their images, and all fit as x1, y1, x2, y2"
        repair = "write x1, y1, x2 - x1, y2 - y1"
    else:
        return
    raise DataError(
        f"The boxes of {printable(str(file))} look {looks}. A COCO bbox is x, y, width, height in pixels. "
        f"Fix: {repair}; if the boxes are right, set `data.bbox_check: off`."
    )


def _target_fault(box: Sequence[float], segmentation: object, record: Mapping[str, Any], *, masks: bool) -> str | None:
    """Why an object is evaluated but not trained on, or None."""
    fault = None
    if is_tiny(box, record):
        fault = f"bbox {shown(box)} is less than {LEAST_SIDE:g} px wide or high"
    elif masks:
        fault = segmentation_fault(segmentation, record["height"], record["width"])
    return fault and f"{fault}: not a target, only evaluated"


def _cleaned(entry: Mapping[str, Any], number: int, image: int, label: int) -> dict[str, Any]:
    box = [float(value) for value in entry["bbox"]]
    area: Any = entry.get("area")
    return {
        "id": number,
        "image_id": image,
        "category_id": label,
        "bbox": box,
        "area": float(area) if is_number(area) else box[2] * box[3],
        "iscrowd": int(entry.get("iscrowd") in (1, "1")),  # True is 1
    }
