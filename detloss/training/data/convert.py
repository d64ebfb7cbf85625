"""Converts labels from Pascal VOC, YOLO and CVAT to COCO's JSON."""

import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from PIL import Image

from detloss.config.files import expanded
from detloss.errors import DataError
from detloss.text import clipped, printable
from detloss.training.data.coco import general, place_fault
from detloss.training.data.cvat import read_cvat
from detloss.training.data.dataset import CocoDataset
from detloss.training.data.labeled import SPLITS, LabeledData, LabeledImage, Track, Unused, read_xml
from detloss.training.data.survey import SplitSurvey, survey
from detloss.training.data.voc import read_voc
from detloss.training.data.yolo import find_yaml, read_yolo
from detloss.training.drawing import contact_sheet, draw_target
from detloss.training.folder import write_text, write_whole

Format = Literal["voc", "yolo", "cvat"]

_READERS: Mapping[Format, Callable[[Path, Path | None, Track], LabeledData]] = {
    "voc": read_voc,
    "yolo": read_yolo,
    "cvat": read_cvat,
}
_MOST_DRAWN = 12
"""An image with more boxes is drawn only if there is no other: its boxes hide each other."""


@dataclass(frozen=True)
class Converted:
    """The result in the folder `output`."""

    format: Format
    output: Path
    splits: Mapping[str, SplitSurvey]
    """Each split, as the loader reads it."""
    files: Mapping[str, Path]
    """The annotation file of each split."""
    images: Mapping[str, Path]
    """The folder of each split's images: file names are relative to it."""
    config: Path | None
    """A config to train with; None without a split `train` and `val`."""
    image: Path
    """An image of each split with its boxes."""
    skipped: tuple[Unused, ...]
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    output: str | Path,
    *,
    format: Format | None = None,  # noqa: A002 - as the option of the command
    images: str | Path | None = None,
    val: float = 0.2,
    track: Track = iter,
) -> Converted:
    """Write labels as COCO files, and read them back.

    The folder `output` gets an annotation file for each split, ``config.yaml``, ``boxes.png``, and ``skipped.txt`` if
    something is skipped. Images are not moved.

    Args:
        source: Folder or file of the data set.
        output: Folder to write into; nothing in it is overwritten.
        format: The format of `source`; None guesses.
        images: Folder of the images, if they are not found from `source`.
        val: Random share of the training images that becomes the split `val` if there is none.
        track: Draws a progress bar.

    Raises:
        DataError: the source cannot be read or has no image, or a file would be overwritten.
    """
    source, output = (Path(expanded(str(path))) for path in (source, output))
    if not source.exists():
        raise DataError(f"{printable(str(source))} does not exist. Fix: give the folder or file of a data set.")
    kind = format or guess_format(source)
    read = _READERS[kind](source, None if images is None else Path(expanded(str(images))), track)
    skipped, notes = list(read.skipped), list(read.notes)
    splits = {name: tuple(listed) for name, listed in read.splits.items() if listed}
    if not splits:
        why = f" {len(skipped)} are skipped; the first: {skipped[0]}." if skipped else ""
        raise DataError(f"{printable(str(source))} has no image.{why} Fix: give --images.")
    splits, note = _with_val(splits, val)
    notes += [*note, *_shared(splits)]
    folders = {name: _common([image.file for image in each]) for name, each in splits.items()}
    files = {name: output / f"{name}.json" for name in splits}
    contents = {name: _coco(each, read.names, folders[name], skipped, notes) for name, each in splits.items()}
    config = output / "config.yaml" if {"train", "val"} <= splits.keys() else None
    image, report = output / "boxes.png", output / "skipped.txt"
    written = [*files.values(), *([config] if config else []), image, *([report] if skipped else [])]
    if there := [str(file) for file in written if file.exists()]:
        raise DataError(f"{printable(there[0])} already exists. Fix: give another output folder.")
    try:
        for name, file in files.items():
            write_text(file, json.dumps(contents[name]))
        datasets = {name: CocoDataset(folders[name], file) for name, file in files.items()}
        surveys = {name: survey(dataset, track) for name, dataset in datasets.items()}
        drawn = _drawn(datasets)
        write_whole(image, drawn.save)
        if config:
            write_text(config, _config(source, folders, files))
        if skipped:
            write_text(report, "\n".join(map(str, skipped)) + "\n")
    except Exception:
        for file in written:  # none of them existed before
            file.unlink(missing_ok=True)
        raise
    return Converted(kind, output, surveys, files, folders, config, image, tuple(skipped), tuple(notes))


def guess_format(source: Path) -> Format:
    """The format of a data set, by its files.

    Raises:
        DataError: it is not a known format; the message says what it is, or what was expected.
    """
    name = printable(str(source))
    if find_yaml(source):
        return "yolo"
    xml = [source] if source.suffix == ".xml" and source.is_file() else _xml_files(source)
    if xml:
        roots: dict[str, Format] = {"annotation": "voc", "annotations": "cvat"}
        root = read_xml(xml[0]).tag
        if root in roots:
            return roots[root]
        raise DataError(
            f"{printable(str(xml[0]))} is neither Pascal VOC nor CVAT: its root is <{clipped(root)}>. {_FIX}"
        )
    if source.suffix in (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar"):
        raise DataError(f"{name} is an archive. Fix: unpack it.")
    if source.suffix == ".json":
        raise DataError(f"{name} is JSON. Fix: if it is COCO's, use it in a config directly.")
    if (source / "labels").is_dir():
        raise DataError(
            f"{name} has YOLO labels, but no data.yaml with splits and names. Fix: write one there:\n"
            "  train: images\n  val: images\n  names: [cat, dog]"
        )
    raise DataError(
        f"{name} is not a known data set (found no data.yaml for YOLO, no XML for Pascal VOC or CVAT). {_FIX}"
    )


_FIX = f"Fix: give --format, one of {', '.join(get_args(Format))}."


def _xml_files(folder: Path) -> list[Path]:
    inner = [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
    places = [folder, folder / "Annotations", *(each for each in sorted(inner) if each.name.lower() in SPLITS)]
    return [file for place in places for file in sorted(place.glob("*.xml"))[:1]]


def _with_val(
    splits: dict[str, tuple[LabeledImage, ...]], share: float
) -> tuple[dict[str, tuple[LabeledImage, ...]], list[str]]:
    """The splits, with one for validation taken from training if missing."""
    train = splits.get("train", ())
    if "val" in splits or len(train) < 2 or not share:
        return splits, []
    number = min(max(1, round(share * len(train))), len(train) - 1)
    chosen = {*random.Random(0).sample(range(len(train)), number)}
    parts = [tuple(image for place, image in enumerate(train) if (place in chosen) is taken) for taken in (False, True)]
    note = f"There is no split for validation: {number} random images of the {len(train)} were taken for it (--val)."
    return {"train": parts[0], "val": parts[1], **{key: splits[key] for key in splits if key != "train"}}, [note]


def _shared(splits: Mapping[str, Sequence[LabeledImage]]) -> list[str]:
    files = {name: {image.file for image in listed} for name, listed in splits.items()}
    return [
        f"Images in both {first} and {second}: {len(common)}. Results on them say nothing about new images."
        for first, second in combinations(files, 2)
        if (common := files[first] & files[second])
    ]


def _common(files: Iterable[Path]) -> Path:
    """The innermost folder with all files."""
    return Path(os.path.commonpath([file.absolute().parent for file in files]))


def _coco(
    images: Iterable[LabeledImage], names: Sequence[str], folder: Path, skipped: list[Unused], notes: list[str]
) -> dict[str, Any]:
    """A COCO dictionary; annotations that the loader never uses are skipped."""
    labels = {name: label for label, name in enumerate(names, start=1)}
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    beyond = 0
    for number, image in enumerate(images, start=1):
        width, height = image.size
        name = image.file.absolute().relative_to(folder).as_posix()
        records.append({"id": number, "file_name": name, "width": width, "height": height})
        for each in image.boxes:
            if fault := place_fault(each.box, records[-1]):
                skipped.append(Unused(each.place, general(fault)))
                continue
            x, y, w, h = (round(value, 3) for value in each.box)
            beyond += min(x, y) < -1 or x + w > width + 1 or y + h > height + 1
            entry = {"image_id": number, "category_id": labels[each.name], "bbox": [x, y, w, h], "area": w * h}
            outline = {} if each.polygon is None else {"segmentation": [[round(value, 3) for value in each.polygon]]}
            annotations.append({"id": len(annotations) + 1, **entry, "iscrowd": int(each.crowd), **outline})
    if beyond:
        notes.append(f"Boxes that reach out of their images by over a pixel are clipped in training: {beyond}.")
    categories = [{"id": label, "name": name} for name, label in labels.items()]
    return {"images": records, "annotations": annotations, "categories": categories}


def _drawn(datasets: Mapping[str, CocoDataset]) -> Image.Image:
    """The image of each split with most classes, with its boxes."""
    sheets: list[Image.Image] = []
    titles: list[str] = []
    for split, dataset in datasets.items():
        best = max(range(len(dataset)), key=lambda index: _shows(dataset.objects(index)))
        sheets.append(draw_target(*dataset[best], dataset.categories))
        titles.append(f"{split}: {dataset.coco['images'][best]['file_name']}")
    return contact_sheet(sheets, titles, columns=len(sheets))


def _shows(objects: Sequence[Mapping[str, Any]]) -> tuple[bool, int, int]:
    """How clearly an image shows if boxes are right."""
    return len(objects) <= _MOST_DRAWN, len({each["category_id"] for each in objects}), len(objects)


def _config(source: Path, folders: Mapping[str, Path], files: Mapping[str, Path]) -> str:
    data = {
        split: {"images": folders[split].as_posix(), "annotations": files[split].name}
        for split in ("train", "val", "test")
        if split in files
    }
    return f"""\
# Written by `detloss convert` from {printable(str(source))}
model: fasterrcnn
backbone: mobilenet_v2
losses:
  roi_heads: giou
options: {{min_size: 320, max_size: 640}}   # images are scaled to this; larger finds smaller objects, but takes longer
{yaml.safe_dump({"data": data}, sort_keys=False, allow_unicode=True)}
train:
  epochs: 12
  batch_size: 8
"""
