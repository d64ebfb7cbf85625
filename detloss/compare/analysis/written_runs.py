"""Folders with a ``run.yaml``, read as the `Records` of a comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detloss.compare.analysis.run_records import (
    ArmRecord,
    Failed,
    Finished,
    Record,
    Records,
    Split,
    check_comparable,
    flat,
    read_results,
    rows_of,
)
from detloss.compare.driver.states import FAILED, read_json
from detloss.compare.run_file import RESULTS, RUN, RunFile, read_run, read_truth, truth_file
from detloss.config.files import expanded
from detloss.errors import ConfigError, DataError
from detloss.text import clipped, counted
from detloss.training.coco_numbers import Rows
from detloss.training.data.coco import Annotations
from detloss.training.data.dataset import CocoDataset, DetectionDataset
from detloss.training.folder import sha256


@dataclass(frozen=True)
class _Read:
    """What a folder says before its predictions are read."""

    folder: Path
    run: RunFile
    truth: Annotations
    sha256: str


def is_written(folder: Path) -> bool:
    """Whether a folder has a ``run.yaml``."""
    return (folder / RUN).is_file()


def read_written(folders: Sequence[Path], split: Split | None = None) -> Records:
    """Read runs of any program from their folders.

    Args:
        folders: Each with a ``run.yaml``.
        split: What the runs must be judged on; None is what they say.

    Raises:
        ConfigError: a file is wrong or missing, or the runs differ in what must be equal.
        DataError: the ground truth cannot be read, or the predictions are of other images.
    """
    read = _read(folders)
    first = read[0]
    for each in read:
        check_same_truth((first.folder, first.truth.coco), (each.folder, each.truth.coco))
    if split not in (None, first.run.split):
        raise ConfigError(
            f"{first.folder}: the run is judged on the split {first.run.split} (found {first.run.split}, expected "
            f"{split}). Fix: remove --split."
        )
    _check_arms(read)
    records = [
        Record(
            each.folder,
            ArmRecord(each.run.name, {}, None, _hash(each.run)),
            each.run.seed,
            None,
            {"split": each.run.split, **flat(each.run.settings, "settings.")},
            {"data": {each.run.split: {"annotations": each.sha256}}},
        )
        for each in read
    ]
    check_comparable(records)
    return Records(
        runs=tuple(
            Record(one.folder, one.arm, one.seed, _outcome(each), one.keys, one.provenance)
            for one, each in zip(records, read, strict=True)
        ),
        truth=first.truth.coco,
        split=first.run.split,
        selection=first.run.split == "val",
        data=Path(first.run.ground_truth).name,
        model=" and ".join(dict.fromkeys(each.run.model for each in read if each.run.model)),
        head="",
    )


def rows_in(folder: Path) -> Rows:
    """The detections of a finished run.

    Raises:
        ConfigError: its predictions are missing or damaged.
        DataError: they are of other images.
    """
    return _rows(folder, read_truth(folder, read_run(folder)))


def images_of(folder: Path) -> DetectionDataset:
    """The images that a run was judged on.

    Raises:
        DataError: its ``run.yaml`` does not name them, or they cannot be read.
    """
    run = read_run(folder)
    if run.images is None:
        raise DataError(f"{folder / RUN} names no `images`: no image is shown.")
    return CocoDataset(folder / expanded(run.images), truth_file(folder, run), bbox_check=False)


def check_same_truth(one: tuple[Path, Mapping[str, Any]], other: tuple[Path, Mapping[str, Any]]) -> None:
    """Refuse two runs that are judged on different ground truth.

    Each is a folder and its COCO dictionary, cleaned.

    Raises:
        ConfigError: they differ; it says in what.
    """
    (first, expected), (second, found) = one, other
    for part, keys in _COMPARED.items():
        here, there = ([{key: entry[key] for key in keys} for entry in truth[part]] for truth in (found, expected))
        if here == there:
            continue
        what = part.removesuffix("s").replace("categorie", "category")
        if len(here) != len(there):
            said = f"found {counted(len(here), what)}, expected {len(there):,}"
        else:
            number = next(place for place, pair in enumerate(zip(here, there, strict=True)) if pair[0] != pair[1])
            said = f"{what} {number + 1}: found {clipped(here[number])}, expected {clipped(there[number])}"
        raise ConfigError(
            f"{second}: its ground truth is not that of {first} ({said}). Fix: judge all runs on one ground truth."
        )


_COMPARED = {
    "images": ("width", "height"),
    "categories": ("name",),
    "annotations": ("image_id", "category_id", "bbox", "area", "iscrowd"),
}
"""What decides an AP. Names of images may differ: another program may keep them elsewhere."""


def _read(folders: Sequence[Path]) -> list[_Read]:
    known: dict[str, Annotations] = {}  # most runs hold a copy of one file
    read = []
    for folder in folders:
        run = read_run(folder)
        file = truth_file(folder, run)
        digest = sha256(file) if file.is_file() else ""
        truth = known[digest] = known.get(digest) or read_truth(folder, run)
        read.append(_Read(folder, run, truth, digest))
    return read


def _check_arms(read: Sequence[_Read]) -> None:
    arms: dict[str, _Read] = {}
    for each in read:
        first = arms.setdefault(each.run.name, each)
        if first.run.model != each.run.model:
            raise ConfigError(
                f"{first.folder} and {each.folder} are one arm, {each.run.name}, with two models (found "
                f"{each.run.model!r}, expected {first.run.model!r}). Fix: give each arm its own name."
            )


def _hash(run: RunFile) -> str:
    return hashlib.sha256(json.dumps(run.arm, sort_keys=True).encode()).hexdigest()[:8]


def _outcome(read: _Read) -> Finished | Failed:
    failed = read_json(read.folder / FAILED)
    if failed and not (read.folder / RESULTS).exists():
        return Failed(str(failed.get("reason", "unknown")))
    hours = read.run.hours
    return Finished(_rows(read.folder, read.truth), seconds=None if hours is None else 3600 * hours)


def _rows(folder: Path, truth: Annotations) -> Rows:
    results = read_results(folder / RESULTS)
    if results is None:
        raise ConfigError(f"{folder} has no whole {RESULTS}. Fix: restore it, or exclude the run.")
    return rows_of(results, folder, truth.image_ids, truth.category_ids)
