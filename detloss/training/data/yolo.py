"""Reads YOLO: a ``data.yaml``, and a text file per image."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detloss.config.files import read_document
from detloss.errors import ConfigError, DataError
from detloss.text import clipped, printable
from detloss.training.data.labeled import (
    LabeledBox,
    LabeledData,
    LabeledImage,
    Track,
    Unused,
    images_under,
    numbers,
    usable_size,
)

_SPLITS = (("train", ("train",)), ("val", ("val", "valid", "validation")), ("test", ("test",)))
"""Our splits and the keys of data.yaml that mean them."""
_TOLERANCE = 0.01
"""How far a normalized coordinate may be out of [0, 1]: labels are rounded."""
_MOST_CLASSES = 100_000
_EXAMPLE = "path: .  train: images/train  val: images/val  names: [cat, dog]"


def find_yaml(source: Path) -> Path | None:
    """The ``data.yaml`` of a folder or a file, or None.

    It needs a key ``names`` or ``nc``.
    """
    if source.is_file():
        return source if source.suffix in (".yaml", ".yml") else None
    files = sorted([*source.glob("*.yaml"), *source.glob("*.yml")], key=lambda file: (file.stem != "data", file.name))
    return next((file for file in files if {"names", "nc"} & _content(file, file.stem == "data").keys()), None)


def read_yolo(source: Path, images: Path | None = None, track: Track = iter) -> LabeledData:
    """Read a YOLO data set by its ``data.yaml``.

    A split is a folder of images, a list of folders, or a text file that lists images. Labels are in the folder
    ``labels`` instead of ``images``, else next to their image. An image without a label file is background. A polygon
    or keypoints become a box.

    Args:
        source: The YAML file, or its folder.
        images: The folder that the splits are relative to, instead of the key ``path``.
        track: Draws a progress bar.

    Raises:
        DataError: there is no such file, or a split has no image or no label.
    """
    file = find_yaml(source)
    if file is None:
        raise DataError(
            f"{printable(str(source))} has no data.yaml with splits and names. Fix: write one, each key on its own "
            f"line: {_EXAMPLE}"
        )
    content = _content(file)
    names = _names(content, file)
    roots = [images] if images else _roots(content, file)
    per_image = _keypoint_values(content.get("kpt_shape"))
    kinds: Counter[str] = Counter()
    skipped: list[Unused] = []
    notes: list[str] = []
    splits: dict[str, list[LabeledImage]] = {}
    for split, keys in _SPLITS:
        entry = next((content[key] for key in keys if content.get(key)), None)
        if entry is None:
            continue
        try:
            files = _images(entry, roots, file, split)
        except DataError as error:
            if split != "test":
                raise
            notes.append(f"There is no test split: {error}")
            continue
        splits[split] = []
        for image in track(files):
            size = usable_size(image, skipped)
            if size is not None:
                boxes = tuple(_boxes(_label_file(image), size, names, per_image, kinds=kinds, skipped=skipped))
                splits[split].append(LabeledImage(image, size, boxes))
    if not splits:
        raise DataError(
            f"{printable(str(file))} names no split. Fix: add `train:` and `val:`, each a folder of images."
        )
    notes += [f"Rows with {kind} become a box: {count}." for kind, count in sorted(kinds.items())]
    return LabeledData(splits, names, tuple(skipped), tuple(notes))


def _content(file: Path, must_be_read: bool = True) -> Mapping[str, Any]:
    try:
        content = read_document(file).data
    except ConfigError:
        if must_be_read:
            raise
        return {}  # some other file next to the data
    return content if isinstance(content, dict) else {}


def _names(content: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    names = content.get("names")
    if names is None and isinstance(content.get("nc"), int):
        names = [f"class_{number}" for number in range(content["nc"])]
    if isinstance(names, dict):
        numbered = {int(key): name for key, name in names.items() if str(key).isdecimal()}
        if len(numbered) == len(names) and max(numbered, default=0) < _MOST_CLASSES:
            # If a number is missing, the others keep theirs.
            names = [numbered.get(number, f"class_{number}") for number in range(max(numbered, default=-1) + 1)]
    if not isinstance(names, list) or not names:
        raise DataError(
            f"{printable(str(file))}: `names` must be a list or a mapping of numbers (found {clipped(names)}). "
            "Fix: write `names: [cat, dog]`."
        )
    if twice := [name for name, count in Counter(map(str, names)).items() if count > 1]:
        raise DataError(
            f"{printable(str(file))}: the class {clipped(twice[0])} appears twice. Fix: give each its own name."
        )
    return tuple(map(str, names))


def _roots(content: Mapping[str, Any], file: Path) -> list[Path]:
    """Folders that the splits may be relative to.

    That is: `path`, from the file's folder or the current one, and these folders.
    """
    path = os.path.expanduser(str(content.get("path") or "."))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    return [file.parent / path, Path(path), file.parent]


def _images(entry: Any, roots: Sequence[Path], file: Path, split: str) -> list[Path]:
    """The images of a split in data.yaml."""
    found: list[Path] = []
    for each in entry if isinstance(entry, list) else [entry]:
        # Exports of Roboflow have ../train/images, relative to an inner folder.
        names = [str(each), *([str(each)[3:]] if str(each).startswith("../") else [])]
        places = [root / name for root in roots for name in names]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            tried = ", ".join(dict.fromkeys(os.path.normpath(place) for place in places))
            raise DataError(
                f"{printable(str(file))}: {split} is {clipped(each)}, which is missing (tried {printable(tried)}). "
                "Fix: correct `path` or the split, or give --images."
            )
        found += images_under(place) if place.is_dir() else _listed(place, roots)
    found = list(dict.fromkeys(found))
    if not found:
        raise DataError(
            f"{printable(str(file))}: {split} ({clipped(entry)}) has no image. Fix: name a folder of images, or a "
            "text file with the path of an image on each line."
        )
    if not any(_label_file(image).is_file() for image in found):
        raise DataError(
            f"{printable(str(file))}: none of the {len(found)} images of {split} has labels; the first would be in "
            f"{printable(os.path.normpath(_label_file(found[0])))}. Fix: put the folder `labels` next to `images`, or "
            "the text files next to the images."
        )
    return found


def _listed(file: Path, roots: Sequence[Path]) -> list[Path]:
    """The images in a list, missing ones too: they are reported."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    places = [[root / line for root in (file.parent, *roots)] for line in lines if line]
    return [next((place for place in each if place.is_file()), each[0]) for each in places]


def _label_file(image: Path) -> Path:
    """The label file of an image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    places = [Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")]
    return next((place for place in places if place.is_file()), places[0])


def _keypoint_values(shape: Any) -> int:
    """How many keypoint values a row has, according to data.yaml."""
    return shape[0] * shape[1] if isinstance(shape, list) and [type(each) for each in shape] == [int, int] else 0


def _boxes(
    file: Path,
    size: tuple[int, int],
    names: Sequence[str],
    keypoint_values: int,
    *,
    kinds: Counter[str],
    skipped: list[Unused],
) -> Iterator[LabeledBox]:
    if not file.is_file():
        return
    width, height = size
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        row = numbers(line.split())
        place = f"{file}: line {number}"
        is_box = row is not None and len(row) in (5, 5 + keypoint_values)
        if row is None or not (is_box or (len(row) >= 7 and len(row) % 2 and not keypoint_values)):
            skipped.append(Unused(place, "it is not class, center and size, nor class and polygon"))
        elif row[0] != int(row[0]) or not 0 <= row[0] < len(names):
            skipped.append(Unused(place, f"its class is not among the {len(names)} names"))
        elif not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in (row[1:5] if is_box else row[1:])):
            skipped.append(Unused(place, "it is not normalized: a coordinate is out of [0, 1]"))
        else:
            polygon: tuple[float, ...] | None = None
            if is_box:
                x, y, w, h = (value * side for value, side in zip(row[1:5], (width, height) * 2, strict=True))
                box = (x - w / 2, y - h / 2, w, h)
                if len(row) > 5:
                    kinds["keypoints"] += 1
            else:
                polygon = tuple(value * size[axis % 2] for axis, value in enumerate(row[1:]))
                xs, ys = polygon[::2], polygon[1::2]
                box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
                kinds["a polygon"] += 1
            yield LabeledBox(place, names[int(row[0])], box, polygon=polygon)
