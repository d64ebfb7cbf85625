"""`Grid`: the measurements of a comparison's runs, by seed and arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detloss.compare.analysis.measures import MOST_FOR_HALVES, Measurement, common_ious, measure, replicates
from detloss.compare.analysis.run_records import Finished, Record, Records
from detloss.compare.statistics import grouped_jackknife
from detloss.errors import DataError

Floats = npt.NDArray[np.float64]
Key = tuple[str, int]
"""Label of the arm, and seed."""


@dataclass(frozen=True)
class Grid:
    """All runs of a comparison, and the measurements of finished ones."""

    seeds: tuple[int, ...]
    labels: tuple[str, ...]
    runs: dict[Key, Record]
    finished: dict[Key, Finished]
    measured: dict[Key, Measurement]
    ious: dict[Key, float | None]
    """Mean IoU on the objects that every finished run found."""
    metric: Floats
    """AP, ``(seeds, arms)``; NaN without a finished run."""
    parts: Floats
    """AP on parts of the images, ``(parts, seeds, arms)``."""
    how: str
    """A word on these parts."""

    def mean(self, arm: int) -> float | None:
        """Mean AP over an arm's finished runs."""
        known = self.metric[~np.isnan(self.metric[:, arm]), arm]
        return float(known.mean()) if len(known) else None


def measure_runs(records: Records, seeds: tuple[int, ...]) -> Grid:
    """Measure all finished runs.

    Raises:
        DataError: the images show no object.
    """
    truth, labels = records.truth, tuple(arm.label for arm in records.arms)
    if all(entry["iscrowd"] for entry in truth["annotations"]):
        raise DataError(f"The {records.split} data ({records.data}) has no object. Fix: give data with objects.")
    runs = {(run.arm.label, run.seed): run for run in records.runs}
    finished = {key: run.outcome for key, run in runs.items() if isinstance(run.outcome, Finished)}
    measured = {key: measure(truth, found.rows) for key, found in finished.items()}
    table, how = replicates(truth, [found.rows for found in finished.values()])
    metric = np.full((len(seeds), len(labels)), np.nan)
    parts = np.full((len(table), *metric.shape), np.nan)
    for place, (label, seed) in enumerate(finished):
        at = seeds.index(seed), labels.index(label)
        metric[at] = measured[label, seed].metrics["AP"]
        parts[:, *at] = table[:, place]
    images = len(truth["images"])
    return Grid(
        seeds=seeds,
        labels=labels,
        runs=runs,
        finished=finished,
        measured=measured,
        ious=dict(zip(measured, common_ious([each.found for each in measured.values()]), strict=True)),
        metric=metric,
        parts=grouped_jackknife(parts, images) if images > MOST_FOR_HALVES else parts,
        how=how,
    )
