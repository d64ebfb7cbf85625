"""Tables of the arms: the reference's numbers, and differences to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from detloss.compare.report.numbers import DASH, plain, signed
from detloss.compare.result import Comparison, RunResult

Tint = Literal["better", "worse", ""]
Measure = Callable[[RunResult], float | None]


@dataclass(frozen=True)
class Cell:
    """One number, and whether every seed agrees on what it says."""

    text: str
    tint: Tint = ""


@dataclass(frozen=True)
class Row:
    """One measure of all arms, in their order."""

    name: str
    cells: tuple[Cell, ...]
    objects: int | None = None
    note: str = ""


_KEYS: Mapping[str, str] = {
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "objects below 32² pixels",
    "APm": "objects from 32² to 96² pixels",
    "APl": "larger objects",
    "AR100": "recall with 100 boxes an image",
}
_TIDE: Mapping[str, str] = {
    "Cls": "right place, wrong class",
    "Loc": "right class, wrong place",
    "Both": "both wrong",
    "Dupe": "found twice",
    "Bkg": "found where nothing is",
    "Miss": "not found",
}


def overview(comparison: Comparison) -> list[Row]:
    """AP at two thresholds and by size, and other differences of arms."""
    rows = [_row(comparison, key, _metric(key), note=note) for key, note in _KEYS.items()]
    rows += [
        _row(comparison, "IoU where all agree", lambda run: run.matched_iou, note="objects that every run found"),
        _row(
            comparison, "calibration error", lambda run: run.calibration_error, less=True,
            note="of the scores at IoU 0.5; less is better",
        ),
        _row(
            comparison, "skipped steps", lambda run: float(run.skipped_steps), less=True, digits=1,
            note="by the guard; less is better",
        ),
    ]  # fmt: skip
    return [row for row in rows if any(cell.text != DASH for cell in row.cells)]


def errors(comparison: Comparison) -> list[Row]:
    """The cost of errors of each kind (TIDE); empty if not measured."""
    rows = [
        _row(comparison, kind, lambda run, kind=kind: run.tide.get(kind), less=True, note=note)  # type: ignore[misc]
        for kind, note in _TIDE.items()
    ]
    return [row for row in rows if any(cell.text != DASH for cell in row.cells)]


def classes(comparison: Comparison) -> list[Row]:
    """AP of each class, the one with the most objects first."""
    ordered = sorted(comparison.class_objects.items(), key=lambda item: (-item[1], item[0]))
    return [_row(comparison, name, _class(name), objects=objects) for name, objects in ordered]


def _metric(key: str) -> Measure:
    return lambda run: _measured(run.metrics.get(key))


def _class(name: str) -> Measure:
    return lambda run: _measured(run.classes.get(name))


def _measured(value: float | None) -> float | None:
    return None if value is None or value < 0 else value


def _row(
    comparison: Comparison,
    name: str,
    measure: Measure,
    *,
    less: bool = False,
    digits: int = 3,
    objects: int | None = None,
    note: str = "",
) -> Row:
    found = {
        arm.label: {run.seed: value for run in arm.finished if (value := measure(run)) is not None}
        for arm in comparison.arms
    }
    reference = found[comparison.question.reference]
    cells = tuple(_cells(found, reference, comparison.question.reference, less=less, digits=digits))
    return Row(name, cells, objects, note)


def _cells(
    found: Mapping[str, Mapping[int, float]], reference: Mapping[int, float], label: str, *, less: bool, digits: int
) -> Iterator[Cell]:
    for arm, values in found.items():
        if arm == label:
            yield Cell(plain(sum(values.values()) / len(values) if values else None, digits))
            continue
        differences = [value - reference[seed] for seed, value in values.items() if seed in reference]
        mean = sum(differences) / len(differences) if differences else None
        agree = len(differences) > 1 and (min(differences) > 0 or max(differences) < 0)
        yield Cell(signed(mean, digits), ("better" if (differences[0] > 0) is not less else "worse") if agree else "")
