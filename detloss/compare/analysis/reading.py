"""`read_runs`: any folders of runs as one `Records`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detloss.compare.analysis.run_folders import read_records
from detloss.compare.analysis.run_records import Records, Split
from detloss.compare.analysis.written_runs import check_same_truth, is_written, read_written
from detloss.config.files import expanded
from detloss.errors import ConfigError


def read_runs(folders: Sequence[str | Path], split: Split | None = None) -> Records:
    """Read runs of `detloss train` and of other programs.

    Args:
        folders: Those with a ``run.yaml`` are of other programs.
        split: What the runs are judged on; None is what other programs say, else the test data where there are some.

    Raises:
        ConfigError: a folder is not a run's, a run is not finished, or the runs cannot be compared.
        DataError: the data of the runs cannot be read, or are not those that the predictions are of.
    """
    paths = [Path(expanded(str(folder))) for folder in folders]
    written = [path for path in paths if is_written(path)]
    trained = [path for path in paths if not is_written(path)]
    if not written:
        return read_records(trained, split)
    others = read_written(written, split)
    return _joined(read_records(trained, others.split), others, paths) if trained else others


def _joined(own: Records, others: Records, paths: Sequence[Path]) -> Records:
    """All runs in the order of their folders."""
    check_same_truth((own.runs[0].folder, own.truth), (others.runs[0].folder, others.truth))
    for one in own.runs:
        for other in others.runs:
            if one.arm.label == other.arm.label:
                raise ConfigError(
                    f"{one.folder} and {other.folder} are different arms with one name, {one.arm.label}. "
                    "Fix: change `name` in run.yaml."
                )
    runs = {run.folder: run for run in (*own.runs, *others.runs)}
    return replace(
        own,
        runs=tuple(runs[path] for path in paths),
        selection=own.selection or others.selection,
        model=" and ".join(filter(None, (own.model, others.model))),
        head="",
    )
