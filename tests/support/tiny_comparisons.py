"""Comparisons of tiny runs, and an engine that starts their processes at once."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import killed
from runs import TINY, assert_same_run

from detloss.compare.driver import run_plan
from detloss.compare.driver.states import LOG, state_of
from detloss.compare.engines.tied import GRACE
from detloss.compare.plan import Plan, Run, load_compare, make_plan, read_plan, write_plan
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
    return [state_of(run, plan.split) for run in plan.runs]


def drive(planned: Plan) -> ForkServerProcess:
    """Start a driver of a comparison, a process of its own; warnings are errors."""
    write_plan(planned)
    return killed.call(_drive, planned.folder, log=driver_log(planned))


def driver_log(planned: Plan) -> Path:
    """What the drivers of a comparison printed."""
    return planned.folder.with_suffix(".txt")


def wait_for_lines(run: Run, lines: int, driver: ForkServerProcess) -> None:
    """Wait until a run has written so many lines of metrics, or is finished."""
    while driver.is_alive() and len(_lines(run)) < lines and not (run.folder / "metrics.json").exists():
        time.sleep(0.01)


def processes(run: Run) -> list[int]:
    """The processes of this machine that train a run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if str(run.folder).encode() in command and b"train" in command:
                found.append(int(entry.name))
    return found


def wait_for_the_end(run: Run) -> None:
    """Wait until no process trains a run; fail where one does longer than it may."""
    deadline = time.monotonic() + GRACE + 10
    while processes(run):
        assert time.monotonic() < deadline, f"{run.folder} is still being trained"
        time.sleep(0.05)


def assert_once(run: Run, reference: Path) -> None:
    """Fail unless a run ended once, as if nothing had disturbed it."""
    assert (run.folder / LOG).read_text().count("The run is in") == 1
    assert_same_run(reference, run.folder)


def _drive(folder: Path) -> None:
    run_plan(read_plan(folder))


def _lines(run: Run) -> list[str]:
    file = run.folder / "metrics.jsonl"
    return file.read_text().splitlines() if file.exists() else []
