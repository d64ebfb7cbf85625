"""Comparisons of tiny runs, and an engine that starts their processes at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import killed
from runs import TINY

from detloss.compare.plan import Plan, Run, load_compare, make_plan
from detloss.training.folder import PREDICTIONS


def plan(folder: Path, **changes: Any) -> Plan:
    """A comparison of two losses, one seed, one thread and two jobs, unless changed."""
    defaults: dict[str, Any] = {"losses": "smooth_l1,giou", "seeds": 1, "jobs": 2, "threads": 1, "race": False}
    return make_plan(load_compare(TINY, **{**defaults, **changes}), folder)


class Forked:
    """An engine whose jobs are forks of a process that has imported everything: they start at once."""

    def __init__(self) -> None:
        self.begun: list[Path] = []
        """Folders of the runs, in the order in which they were started."""
        self.jobs: list[ForkedJob] = []

    def submit(self, command: Sequence[str], log: Path) -> ForkedJob:
        assert list(command[1:3]) == ["-m", "detloss"]
        self.begun.append(Path(command[-1]))
        self.jobs.append(ForkedJob(killed.start(list(command[3:]), log)))
        return self.jobs[-1]

    def attach(self, log: Path) -> None:
        return None

    def close(self) -> None:
        pass


class ForkedJob:
    def __init__(self, process: ForkServerProcess) -> None:
        self.process = process

    def done(self) -> bool:
        return not self.process.is_alive()

    def result(self) -> int:
        self.process.join()
        return int(self.process.exitcode or 0)

    def cancel(self) -> None:
        self.process.terminate()


def write_finished(run: Run, ap: float) -> None:
    """Write what a finished run leaves that counts, with this AP."""
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("{}")
    (run.folder / "metrics.json").write_text(json.dumps({"last": {"AP": ap}}))
    (run.folder / PREDICTIONS["val"]).write_text("[]")


def states(plan: Plan) -> list[str]:
    """The states of all runs, in their order."""
    from detloss.compare.states import state_of

    return [state_of(run, plan.split) for run in plan.runs]
