"""`Records`: the runs of a comparison on disk, with their ground truth."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from detloss.compare.driver.states import FAILED, packed, read_json
from detloss.errors import ConfigError, DataError
from detloss.text import clipped, one_line, reason
from detloss.training.callbacks import read_metrics
from detloss.training.coco_numbers import Rows
from detloss.training.folder import PREDICTIONS

Split = Literal["val", "test"]


@dataclass(frozen=True)
class ArmRecord:
    """What the runs of one arm have in common."""

    label: str
    losses: Mapping[str, Any]
    """Specs by head, as in a config."""
    weight: float | None
    """Of the one loss in the head that is compared; None where it holds several."""
    hash: str
    gradient_ratio: float | None = None
    dropped_after: int | None = None
    """Seeds after which it got no more."""


@dataclass(frozen=True)
class Finished:
    """What a run found, and how it went."""

    rows: Rows
    """Detections, with the ids of the ground truth."""
    curve: tuple[tuple[int, float], ...] = ()
    """Epoch and AP of each evaluation on validation data."""
    skipped_steps: int = 0
    seconds: float | None = None
    seconds_a_step: float | None = None
    memory_mib: float | None = None


@dataclass(frozen=True)
class Failed:
    """A run that ended with an error."""

    reason: str


@dataclass(frozen=True)
class Record:
    """One run of one arm; without an outcome it is not finished."""

    folder: Path
    arm: ArmRecord
    seed: int
    outcome: Finished | Failed | None
    keys: Mapping[str, Any] = field(default_factory=dict)
    """What must be the same in all runs that are compared, by the key that an error names."""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Records:
    """Runs that can be compared."""

    runs: tuple[Record, ...]
    truth: dict[str, Any]
    """A COCO dictionary with integer ids."""
    split: Split
    selection: bool
    """Whether there are no test data, so that the numbers choose and do not confirm."""
    data: str
    """The split in a word."""
    model: str
    head: str
    """The head that is compared; several are joined by commas."""

    @property
    def arms(self) -> tuple[ArmRecord, ...]:
        """In the order of the runs."""
        return tuple({run.arm.label: run.arm for run in self.runs}.values())


def check_comparable(runs: Sequence[Record]) -> None:
    """Refuse runs that differ in more than their losses and their seed.

    Raises:
        ConfigError: they do, or two of them are one arm with one seed.
    """
    seen: dict[tuple[str, int], Record] = {}
    for run in runs:
        first = runs[0]
        different = [key for key in {**first.keys, **run.keys} if first.keys.get(key) != run.keys.get(key)]
        if different:
            values = (
                f"  {key}: {clipped(first.keys.get(key, 'absent'))} and {clipped(run.keys.get(key, 'absent'))}\n"
                for key in different
            )
            raise ConfigError(
                f"{first.folder} and {run.folder} cannot be compared: they differ in more than losses and seed.\n"
                f"{''.join(values)}Fix: compare runs of one config."
            )
        other = seen.setdefault((run.arm.label, run.seed), run)
        if other is not run:
            raise ConfigError(
                f"{other.folder} and {run.folder} are the same: {run.arm.label} with seed {run.seed}. "
                "Fix: remove one of them."
            )


def read_outcome(
    folder: Path, split: Split, image_ids: Sequence[object], category_ids: Sequence[object]
) -> Finished | Failed | None:
    """The result of the run in a folder; None if not finished.

    Args:
        folder: Of the run.
        split: Whose predictions are read.
        image_ids: The ids that the predictions name images by: that of image 1, 2, ... of the ground truth.
        category_ids: Likewise of label 1, 2, ...

    Raises:
        ConfigError: a file of the run is damaged.
        DataError: the predictions are of other images or categories.
    """
    found = read_predictions(folder, split) if read_json(folder / "metrics.json") else None
    if found is None:
        failed = read_json(folder / FAILED)
        return Failed(str(failed.get("reason", "unknown"))) if failed else None
    rows, lines = rows_of(found, folder, image_ids, category_ids), read_metrics(folder / "metrics.jsonl")
    try:
        return Finished(
            rows=rows,
            curve=tuple((line["epoch"], float(line["val/AP"])) for line in lines if "val/AP" in line),
            skipped_steps=max((int(line["train/skipped"]) for line in lines if "train/skipped" in line), default=0),
            **_taken(lines),
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{folder / 'metrics.jsonl'} is damaged: {one_line(error)}. Fix: restore it, or exclude its run."
        ) from None


def read_predictions(folder: Path, split: Split) -> list[dict[str, Any]] | None:
    """The COCO results of a run of `detloss train`, as `read_results` gives them."""
    return read_results(folder / PREDICTIONS[split])


def read_results(path: Path) -> list[dict[str, Any]] | None:
    """The COCO results in a file, packed or not.

    None if they are incomplete.

    Raises:
        ConfigError: the file holds anything else.
    """
    try:
        raw = path.read_bytes() if path.exists() else gzip.decompress(packed(path).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{packed(path)} is damaged: {reason(error)}. Fix: restore it, or exclude its run."
        ) from error
    if not raw.rstrip().endswith(b"]"):
        return None
    try:
        results = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: {reason(error)}. Fix: restore it, or exclude its run.") from error
    return list(results)


def rows_of(
    results: Sequence[Mapping[str, Any]], folder: Path, image_ids: Sequence[object], category_ids: Sequence[object]
) -> Rows:
    """COCO results with the ids of the ground truth.

    The arguments are those of `read_outcome`.

    Raises:
        ConfigError: they are not COCO results of boxes.
        DataError: they are of other images or categories.
    """
    images = {identity: number for number, identity in enumerate(image_ids, start=1)}
    labels = {identity: label for label, identity in enumerate(category_ids, start=1)}
    try:
        unknown = next(
            (one for one in results if one["image_id"] not in images or one["category_id"] not in labels), None
        )
        if unknown is None:
            rows = [
                (images[one["image_id"]], *one["bbox"], one["score"], labels[one["category_id"]]) for one in results
            ]
            return np.asarray_chkfinite(rows, dtype=np.float64).reshape(-1, 7)
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{folder}: its predictions are not COCO results of boxes ({type(error).__name__}: {one_line(error)}). "
            "Fix: restore the file, or exclude the run."
        ) from None
    raise DataError(
        f"{folder}: its predictions name image_id {unknown['image_id']!r} and category_id {unknown['category_id']!r}, "
        "which the ground truth does not have. Fix: give the ground truth that they are of."
    )


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in plain.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return items


def short_labels(losses: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short name for each of several sections `losses`.

    For example ``giou:10``, ``ciou(eps=0.1)``; equal ones have equal names.

    Heads in which all are alike are not named.
    """
    heads = differing_heads(losses)
    return [", ".join(_head_label(each, head, named=len(heads) > 1) for head in heads) for each in losses]


def differing_heads(losses: Iterable[Mapping[str, Any]]) -> list[str]:
    """The heads in which sections `losses` differ, or the first one."""
    sections = list(losses)
    heads = sorted({head for each in sections for head in each})
    return [head for head in heads if any(each.get(head) != sections[0].get(head) for each in sections)] or heads[:1]


def _head_label(losses: Mapping[str, Any], head: str, *, named: bool) -> str:
    label = "+".join(map(_loss_label, losses.get(head, ()))) or "stock"
    return f"{head} {label}" if named else label


def _loss_label(spec: Mapping[str, Any]) -> str:
    weight = f":{spec['weight']:g}" if spec.get("weight") is not None else ""
    usual = {"normalizer": "stock", "compile": False}
    params = ", ".join(
        f"{key}={value}"
        for key, value in spec.items()
        if key not in ("name", "weight") and not (key in usual and usual[key] == value)
    )
    return f"{spec['name']}{weight}" + (f"({params})" if params else "")


_PAUSE = 600.0
"""Seconds between two lines of a run's metrics that are more than this are an interruption, and count as this."""


def _taken(lines: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Seconds, seconds per step and memory from a run's lines.

    Unknown values are None.
    """
    timed = [(datetime.fromisoformat(line["time"]).timestamp(), line["step"]) for line in lines if "time" in line]
    passed = [
        ((later - earlier) / (step - before), step - before)
        for (earlier, before), (later, step) in itertools.pairwise(timed)
        if step > before
    ]
    memory = [float(line["memory_mib"]) for line in lines if line.get("memory_mib") is not None]
    # The median: evaluations lie between some lines, and an interruption between two of a resumed run.
    a_step = median(seconds for seconds, _ in passed) if passed else None
    return {
        "seconds": sum(min(later - earlier, _PAUSE) for (earlier, _), (later, _) in itertools.pairwise(timed)) or None,
        "seconds_a_step": a_step,
        "memory_mib": max(memory, default=None),
    }
