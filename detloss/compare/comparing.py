"""`compare`: from a question to runs, an answer and its report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from detloss.compare.analysis.analyzing import analyze, analyze_folders
from detloss.compare.analysis.run_folders import read_planned
from detloss.compare.analysis.run_records import Split
from detloss.compare.driver import run_plan
from detloss.compare.driver.status import Status
from detloss.compare.plan import CONFIG, RUNS, Plan, Source, load_compare, make_plan, read_compare, with_more
from detloss.compare.report import REPORT, write_report
from detloss.compare.result import Comparison
from detloss.compare.result_file import RESULT, write_comparison
from detloss.errors import ConfigError
from detloss.training.settings import absolute


@dataclass(frozen=True)
class Compared:
    """A comparison that was analyzed."""

    folder: Path
    """Holds ``compare.json``, ``report.html`` and, where it trained them, the runs."""
    comparison: Comparison


def compare(
    config: Source | None = None,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    overrides: Sequence[str] = (),
    show: Callable[[Status], None] | None = None,
    **changes: Any,
) -> Compared:
    """Train losses on shared seeds and images, and compare them.

    Args:
        config: A train config or a comparison's, as file or mapping; None compares three losses on synthetic images.
        output: Folder without a comparison; by default ``runs/compare-<time>``.
        resume: Folder of a comparison to continue; `seeds` and `losses` add to it.
        overrides: ``key.path=value`` settings on top of the train config.
        show: Is given the status of all runs when it changes.
        **changes: Fields of a `CompareConfig`: ``losses``, ``seeds``, ``jobs``, ``margin``, ``engine``, ...

    Raises:
        ConfigError: the comparison is wrong, or nothing of it can be compared.
        DataError: the data cannot be read.
        ComparisonInterrupted: Ctrl-C or SIGTERM; `resume` continues.
    """
    plan = planned(config, output=output, resume=resume, overrides=overrides, **changes)
    run_plan(plan, show=show)
    return analyzed(plan)


def planned(
    config: Source | None = None,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    overrides: Sequence[str] = (),
    **changes: Any,
) -> Plan:
    """Plan a comparison, or its rest, without writing anything.

    Arguments are those of `compare`.

    Raises:
        ConfigError: the comparison is wrong, or the folder holds one already.
        DataError: the data cannot be read.
    """
    if resume is not None:
        if config is not None or output is not None or overrides:
            raise ConfigError("A resumed comparison keeps its config and folder. Fix: give `resume` without them.")
        seeds, losses = changes.pop("seeds", None), changes.pop("losses", None) or ()
        more = with_more(read_compare(resume), seeds=seeds, losses=losses)
        return make_plan(load_compare(more, **changes), resume)
    folder = _folder(output)
    if folder.is_file():
        raise ConfigError(f"{folder} is a file. Fix: choose another output folder.")
    # The config and the data may lie in it.
    if found := [name for name in (CONFIG, RESULT, REPORT, RUNS) if (folder / name).exists()]:
        raise ConfigError(
            f"{folder} holds {found[0]} already. Fix: choose another output folder, or resume the comparison in it."
        )
    return make_plan(load_compare(config, overrides=overrides, **changes), folder)


def analyzed(plan: Plan) -> Compared:
    """Analyze the runs of a plan, and write compare.json and report.html.

    Raises:
        ConfigError: no run of two arms is finished.
    """
    comparison = analyze(
        read_planned(plan),
        reference=plan.reference.label,
        margin=plan.config.margin,
        seeds=plan.config.all_seeds,
        folder=plan.folder,
        command=f"detloss compare {CONFIG}",
    )
    return _written(comparison, plan.folder)


def compare_runs(
    folders: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    reference: str | None = None,
    margin: float | None = None,
    split: Split | None = None,
) -> Compared:
    """Compare runs that exist, and write compare.json and report.html.

    Args:
        folders: Of runs that differ in nothing but losses and seed.
        output: Folder, by default ``runs/compare-<time>``.
        reference: Label of the arm that the others are compared with; None is the first.
        margin: Differences up to this one make no difference; None is that of a `CompareConfig`.
        split: What the runs are judged on; None is test data where there are some.

    Raises:
        ConfigError: the runs cannot be compared; it names the key in which they differ.
        DataError: the data of the runs cannot be read.
    """
    folder = _folder(output)
    asked = {} if margin is None else {"margin": margin}
    return _written(analyze_folders(folders, reference=reference, split=split, folder=folder, **asked), folder)


def _folder(output: str | Path | None) -> Path:
    return Path(absolute(str(output or f"runs/compare-{datetime.now():%Y%m%d-%H%M%S}")))


def _written(comparison: Comparison, folder: Path) -> Compared:
    write_comparison(comparison, folder / RESULT)
    write_report(comparison, folder)
    return Compared(folder, comparison)
