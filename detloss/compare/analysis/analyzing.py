"""`analyze`: from the runs of a comparison to all that they say."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np

from detloss.compare.analysis.grid import Grid, measure_runs
from detloss.compare.analysis.image_pairs import choose_image_pairs
from detloss.compare.analysis.reading import read_runs
from detloss.compare.analysis.run_records import Failed, Records, Split
from detloss.compare.analysis.verdicts import sentences
from detloss.compare.result import (
    ArmResult,
    Comparison,
    Difference,
    Look,
    Measured,
    Question,
    RunMeasured,
    RunResult,
)
from detloss.compare.result_file import RESULT, read_comparison
from detloss.compare.statistics import Contrast, Inference, infer, look_level
from detloss.errors import ConfigError

_DIGITS = 6
"""Digits after the point of all numbers: an AP has three that mean anything, the last bits differ between machines."""

_EXACT = {"losses", "provenance"}
"""Keys whose numbers are not measured but written by a user or a library."""


def analyze(
    records: Records,
    *,
    reference: str | None = None,
    margin: float = 0.005,
    alpha: float = 0.05,
    seeds: Sequence[int] = (),
    folder: Path | None = None,
    command: str = "",
) -> Comparison:
    """Say what runs tell about their arms.

    Args:
        records: The runs.
        reference: Label of the arm that the others are compared with; None is the first.
        margin: Differences up to this one make no difference.
        alpha: Probability of a false statement, in all looks together.
        seeds: Which were asked for, besides those that there are.
        folder: Of the comparison. Earlier looks count, which its compare.json holds.
        command: What repeats the comparison.

    Raises:
        ConfigError: there is nothing to compare, no arm is called like the reference, or compare.json is damaged.
        DataError: the images show no object.
    """
    labels = [arm.label for arm in records.arms]
    if len(labels) < 2:
        raise ConfigError(f"All runs are of one arm, {labels[0]}. Fix: give runs with another loss or weight.")
    if reference is not None and reference not in labels:
        raise ConfigError(f"No arm is called {reference!r}. Fix: name one of {', '.join(labels)} as the reference.")
    first = 0 if reference is None else labels.index(reference)
    grid = measure_runs(records, tuple(sorted({*seeds, *(run.seed for run in records.runs)})))
    if not grid.finished:
        raise ConfigError(f"None of {len(grid.runs)} runs is finished: there is nothing to compare.")
    known = read_comparison(folder / RESULT).looks if folder is not None and (folder / RESULT).exists() else ()
    looks, level, following = _looks(known, grid, alpha)
    found = infer(
        grid.metric,
        grid.parts,
        images=len(records.truth["images"]),
        reference=first,
        dropped=[place for place, arm in enumerate(records.arms) if arm.dropped_after],
        margin=margin,
        alpha=level,
        next_alpha=following,
    )
    objects = Counter(entry["category_id"] for entry in records.truth["annotations"] if not entry["iscrowd"])
    comparison = Comparison(
        question=Question(
            metric="AP",
            split=records.split,
            images=len(records.truth["images"]),
            objects=objects.total(),
            data=records.data,
            model=records.model,
            head=records.head,
            reference=labels[first],
            margin=margin,
            alpha=alpha,
            alpha_spent=level,
            seeds=grid.seeds,
        ),
        arms=_arms(records, grid, found, folder),
        differences=tuple(_difference(grid, one, first) for one in found.contrasts),
        class_objects={each["name"]: objects[each["id"]] for each in records.truth["categories"]},
        noise=found.noise,
        looks=looks,
        image_pairs=choose_image_pairs(records, grid, first),
        selection=records.selection,
        command=command,
        provenance={**_provenance(records), "image_variance": grid.how},
        verdict=(),
        measured=_measured(records, grid),
    )
    comparison = Comparison.model_validate(_rounded(comparison.model_dump()))
    return comparison.model_copy(update={"verdict": tuple(sentences(comparison))})


def analyze_folders(
    folders: Sequence[str | Path],
    *,
    reference: str | None = None,
    margin: float = 0.005,
    split: Split | None = None,
    folder: Path | None = None,
) -> Comparison:
    """Say what existing runs tell about their losses: ``detloss compare RUN RUN ...``.

    `split` is by default test where the runs have it; the other arguments are those of `analyze`.

    Raises:
        ConfigError: the folders are not of runs that can be compared, or nothing is to be compared.
        DataError: the data of the runs cannot be read.
    """
    command = f"detloss compare {shlex.join(map(str, folders))}"
    return analyze(read_runs(folders, split), reference=reference, margin=margin, folder=folder, command=command)


def _looks(known: Sequence[Look], grid: Grid, alpha: float) -> tuple[tuple[Look, ...], float, float]:
    """All looks including the current, its level, and the next level."""
    present = (int((~np.isnan(grid.metric)).any(axis=1).sum()), len(grid.labels))
    counts = [(look.seeds, look.arms) for look in known]
    new = present not in counts  # the same runs analyzed again are not a new look
    counts = [*counts, present] if new else counts[: counts.index(present) + 1]
    level, following = look_level(counts, alpha), look_level([*counts, (2 * present[0], present[1])], alpha)
    look = Look(seeds=present[0], arms=present[1], alpha=level)
    return (*known, look) if new else tuple(known), level, following


def _arms(records: Records, grid: Grid, found: Inference, folder: Path | None) -> tuple[ArmResult, ...]:
    return tuple(
        ArmResult(
            label=arm.label,
            losses=dict(arm.losses),
            weight=arm.weight,
            gradient_ratio=arm.gradient_ratio,
            hash=arm.hash,
            runs=tuple(_run(grid, arm.label, seed, folder) for seed in grid.seeds),
            dropped_after=arm.dropped_after,
            mean=grid.mean(place),
            may_be_best=found.may_be_best[place],
            probability_best=found.probability_best[place],
            expected_loss=found.expected_loss[place],
        )
        for place, arm in enumerate(records.arms)
    )


def _run(grid: Grid, label: str, seed: int, folder: Path | None) -> RunResult:
    key = label, seed
    run = grid.runs.get(key)
    if run is None:
        return RunResult(seed=seed, state="missing", folder="")
    place = str(run.folder) if folder is None else Path(relpath(run.folder.resolve(), folder.resolve())).as_posix()
    if isinstance(run.outcome, Failed):
        return RunResult(seed=seed, state="failed", reason=run.outcome.reason, folder=place)
    if run.outcome is None:
        return RunResult(seed=seed, state="missing", folder=place)
    found = grid.measured[key]
    return RunResult(
        seed=seed,
        state="finished",
        folder=place,
        metrics=found.metrics,
        by_iou=found.by_iou,
        classes=found.classes,
        tide=found.tide,
        matched_iou=grid.ious[key],
        calibration_error=found.calibration_error,
        skipped_steps=run.outcome.skipped_steps,
        curve=run.outcome.curve,
    )


def _difference(grid: Grid, one: Contrast, first: int) -> Difference:
    by_seed = dict(zip(grid.seeds, (grid.metric[:, one.arm] - grid.metric[:, first]).tolist(), strict=True))
    return Difference(
        arm=grid.labels[one.arm],
        estimate=one.estimate,
        by_seed={seed: value for seed, value in by_seed.items() if not np.isnan(value)},
        training=one.training,
        images=one.images,
        full=one.full,
        degrees_of_freedom=one.degrees_of_freedom,
        image_share=one.image_share,
        verdict=one.verdict,
        more_seeds=one.more_seeds,
        more_images=one.more_images,
    )


def _provenance(records: Records) -> dict[str, dict[str, Any]]:
    """Versions and hashes of all runs; where they differ, all values."""
    merged: dict[str, dict[str, Any]] = {}
    for part in ("versions", "data"):
        values: dict[str, list[Any]] = {}
        for run in records.runs:
            for key, value in run.provenance.get(part, {}).items():
                seen = values.setdefault(key, [])
                seen += [value] * (value not in seen)
        merged[part] = {key: seen[0] if len(seen) == 1 else seen for key, seen in sorted(values.items())}
    return merged


def _measured(records: Records, grid: Grid) -> Measured:
    devices = {str(run.provenance["device"]) for run in records.runs if "device" in run.provenance}
    return Measured(
        analyzed=datetime.now(UTC).isoformat(timespec="seconds"),
        runs=tuple(
            RunMeasured(
                arm=label,
                seed=seed,
                seconds=found.seconds,
                seconds_a_step=found.seconds_a_step,
                memory_mib=found.memory_mib,
            )
            for (label, seed), found in grid.finished.items()
        ),
        devices=tuple(sorted(devices)),
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: each if key in _EXACT else _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
