"""The records of a COCO file, and names of other formats.

pydantic reads the records.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, NotRequired, TypeVar

from annotated_types import MinLen
from pydantic import AfterValidator, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # typing's has no generics before Python 3.12, and pydantic refuses it

from detloss.errors import DataError
from detloss.text import clipped, printable, reason

_MOST_ERRORS = 10
"""Faults of one file that its error lists."""


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold.

    JSON has integers of any length, NaN and Infinity.
    """
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def shown(value: object) -> str:
    """A value in a message, as JSON writes it."""
    return clipped(json.dumps(value, ensure_ascii=False, default=str))


def _identity(value: object) -> object:
    if is_number(value) or isinstance(value, str):
        return value
    raise ValueError


Identity = Annotated[Any, AfterValidator(_identity)]


class ImageRecord(TypedDict):
    """An image of a COCO file."""

    id: Identity
    file_name: str
    width: NotRequired[Any]
    height: NotRequired[Any]


class CategoryRecord(TypedDict):
    """A category of a COCO file."""

    id: Identity
    name: NotRequired[str]


class BoxRecord(TypedDict, total=False):
    """An annotation as a model without masks sees it.

    Each is checked separately: one fault skips one annotation.
    """

    id: Any
    image_id: Any
    category_id: Any
    bbox: Any
    area: Any
    iscrowd: Any


class MaskRecord(BoxRecord, total=False):
    """An annotation as a model with masks sees it."""

    segmentation: Any


Record = TypeVar("Record", bound=BoxRecord)


class CocoFile(TypedDict, Generic[Record]):
    """The keys of a COCO file that are read."""

    images: Annotated[list[ImageRecord], MinLen(1)]
    categories: Annotated[list[CategoryRecord], MinLen(1)]
    annotations: list[Record]


_WITH_BOXES = TypeAdapter(CocoFile[BoxRecord])
_WITH_MASKS = TypeAdapter(CocoFile[MaskRecord])


def read_records(file: Path, *, masks: bool = False) -> CocoFile[Any]:
    """Read the records of a COCO instances file.

    Args:
        file: The JSON file.
        masks: Read segmentations too.

    Raises:
        DataError: it cannot be read or is not such a file; the message lists every fault and names known formats.
    """
    name = printable(str(file))
    try:
        if file.exists() and not file.is_file():
            raise DataError(f"{name} is {_folder(file) if file.is_dir() else 'not a regular file'}. {_FIX}")
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        found = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {reason(error)}"
        raise DataError(f"{name} {found}. {_FIX}") from error
    try:
        # The parser takes UTF-8 without a byte order mark; JSON may be UTF-16 and UTF-32 too.
        encoding = json.detect_encoding(raw)
        text = raw if encoding == "utf-8" else raw.decode(encoding)
        return (_WITH_MASKS if masks else _WITH_BOXES).validate_json(text)
    except UnicodeDecodeError as error:
        errors: list[Any] = [{"type": "json_invalid", "ctx": {"error": str(error)}}]
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=True)
    if errors[0]["type"] == "json_invalid":
        kind = next((kind for pattern, kind in _KINDS if re.match(pattern, raw[:4096])), None)
        found = f"is {kind}" if kind else f"cannot be read as JSON: {errors[0]['ctx']['error']}"
        raise DataError(f"{name} {found}. {_FIX}")
    whole = not errors[0]["loc"] or (errors[0]["type"], len(errors[0]["loc"])) == ("missing", 1)
    if whole and (kind := _other_json(errors[0]["input"])):
        raise DataError(f"{name} is {kind}. {_FIX}")
    lines = [f"\n  {_described(error)}" for error in errors[:_MOST_ERRORS]]
    more = f"\n  ... and {len(errors) - _MOST_ERRORS} more" if len(errors) > _MOST_ERRORS else ""
    raise DataError(f"{name} is not a COCO instances file:{''.join(lines)}{more}\n{_FIX}")


_FIX = "Fix: give `annotations` the path of a COCO JSON file, an object with images, categories and annotations."

_KINDS = (
    (rb"\s*\Z", "empty"),
    (rb"\x1f\x8b", "compressed by gzip: unpack it"),
    (rb"BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "compressed (bzip2, xz or zstd): unpack it"),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!|(?s:.{257}ustar)", "an archive: unpack it"),
    (rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\0|MM\0\*|RIFF", "an image"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself: run `git lfs pull`"),
    (rb"\s*(\xef\xbb\xbf)?<", "an XML or HTML file (Pascal VOC has one for each image)"),
    (rb"\s*\d+(?:[ \t]+[-+.\deE]+){4,}[ \t]*(?:[\r\n]|\Z)", "a YOLO label file (class, center and size on each line)"),
    (
        rb"(?i)[^\r\n{}\[\]]+\.(?:jpe?g|png|bmp|tiff?|webp)\s*(?:[\r\n]|\Z)",
        "a list of image files (YOLO has such lists)",
    ),
    (rb"(?s)(?:.*[\r\n])?(?:names|nc|train|val|path)[ \t]*:", "a YAML file (YOLO's data.yaml is one)"),
    (rb"[^\r\n{}\[\]]*,[^\r\n{}\[\]]*,[^\r\n{}\[\]]*(?:[\r\n]|\Z)", "a table (CSV)"),
    (rb"\s*\{[^\r\n]*\}[ \t]*\r?\n\s*\{", "a file of JSON lines"),
)
"""Starts of other files, and their names."""


def _other_json(content: object) -> str | None:
    """What a JSON file is, if not a COCO object."""
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], dict) else {}
        return "a file of COCO results (detections)" if {"image_id", "score"} <= first.keys() else "a JSON list"
    if not isinstance(content, dict):
        return None
    if "shapes" in content:
        return "a labelme file (it has one for each image)"
    if any(key.startswith("_via") for key in content):
        return "a VGG Image Annotator project"
    return "GeoJSON" if content.get("type") == "FeatureCollection" else None


def _folder(folder: Path) -> str:
    suffixes = {path.suffix.lower() for path in folder.iterdir()}
    kinds = {".xml": "Pascal VOC annotations", ".txt": "YOLO labels", ".json": "JSON files: choose one"}
    return "a folder" + next((f" of {kind}" for suffix, kind in kinds.items() if suffix in suffixes), "")


def _described(error: dict[str, Any]) -> str:
    """The text of one of pydantic's errors."""
    place = _place(error["loc"])
    if error["type"] == "missing":
        return f"{_place(error['loc'][:-1])} has no '{error['loc'][-1]}'"
    expected = {
        "dict_type": "an object",
        "list_type": "a list",
        "string_type": "text",
        "value_error": "a number or text",
    }
    if error["type"] in expected:
        return f"{place} is {shown(error['input'])}, not {expected[error['type']]}"
    return f"{place} is empty" if error["type"] == "too_short" else f"{place}: {error['msg']}"


def _place(keys: Sequence[str | int]) -> str:
    return " ".join(f"entry {key + 1}" if isinstance(key, int) else f"'{key}'" for key in keys) or "the content"
