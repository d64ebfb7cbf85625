"""The driver of a comparison: starts or resumes its runs by seed."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

from detloss.compare.driver.dropping import RACE_AFTER, drop
from detloss.compare.driver.states import FAILED, LOG, SETTLED, State, prepare, reason_in, state_of, tail, write_failure
from detloss.compare.driver.status import RunStatus, Status, status_of
from detloss.compare.engines import Engine, Job
from detloss.compare.engines.opening import opened
from detloss.compare.plan import Plan, Run, write_plan
from detloss.compare.plan.arms import Arm
from detloss.errors import ConfigError, DetlossError
from detloss.training.folder import IN_USE, locked

Ended = Literal["finished", "budget"]
Show = Callable[[Status], None]
ATTEMPTS = 3
"""Times that a run may be killed without a step further, before it counts as failed."""
_TICK = 0.1
"""Seconds between two looks at the jobs."""
_LOOK = 0.5
"""Seconds between two looks at folders that others train into, and between two statuses that are shown."""
_INTERRUPTED = 130
"""Exit code of a run that was asked to stop."""


class ComparisonInterrupted(KeyboardInterrupt):
    """A comparison was stopped by Ctrl-C or SIGTERM.

    Attributes:
        folder: The comparison's folder; it can be resumed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the comparison was interrupted. Resume it with\n  {way_on(folder)}")
        self.folder = folder


def run_plan(
    plan: Plan, engine: Engine | None = None, *, show: Show | None = None, retry_failed: bool = False
) -> Ended:
    """Do all remaining runs of a plan on its engine.

    Args:
        plan: What is to be done.
        engine: Your own engine instead of the plan's; you close it.
        show: Is given the comparison's status when a run changes its state, and twice a second at most.
        retry_failed: Whether runs that failed are tried again.

    Returns:
        ``budget`` where its time was up before all were done.

    Raises:
        ComparisonInterrupted: Ctrl-C, SIGTERM or SIGHUP; active runs have checkpoints.
        ConfigError: another process is at it, or what the engine needs is not installed.
        DetlossError: the engine cannot be reached any more; the message says how to resume.
    """
    with locked(plan.folder), _stops() as stop:
        write_plan(plan)
        if retry_failed:
            for run in plan.runs:
                (run.folder / FAILED).unlink(missing_ok=True)
        try:
            with opened(plan) if engine is None else nullcontext(engine) as runs:
                return _Drive(plan, runs, show, stop).to_the_end()
        except ConfigError:
            raise
        except DetlossError as error:
            raise DetlossError(f"{error} Then resume the comparison with\n  {way_on(plan.folder)}") from error


def commands(plan: Plan) -> list[list[str]]:
    """The commands of all remaining runs, with prepared folders.

    Each may be run at any time and again: it starts its run, resumes it, or finds it finished.
    """
    write_plan(plan)
    left = [run for run in plan.runs if state_of(run, plan.split) not in SETTLED]
    for run in left:
        prepare(run, plan.folder)
    return [command_of(run) for run in left]


def command_of(run: Run) -> list[str]:
    """The command that starts or resumes a prepared run."""
    return [sys.executable, "-m", "detloss", "train", "--resume", str(run.folder)]


def way_on(folder: Path) -> str:
    """The command that resumes a comparison."""
    return f"detloss compare --resume {shlex.quote(str(folder))}"


@dataclass
class _Stop:
    requested: bool = False


@contextmanager
def _stops() -> Iterator[_Stop]:
    """Note a request to stop; a second one ends everything at once."""
    stop = _Stop()

    def request(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    kinds = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Only a main thread can listen, and `nohup` has a signal ignored.
    heard = kinds if threading.current_thread() is threading.main_thread() else []
    before = {kind: signal.signal(kind, request) for kind in heard if signal.getsignal(kind) is not signal.SIG_IGN}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@dataclass
class _Drive:
    """What one driver knows of its runs, in addition to their folders."""

    plan: Plan
    engine: Engine
    show: Show | None
    stop: _Stop
    states: dict[Run, State] = field(default_factory=dict)
    dropped: frozenset[Arm] | None = None
    """Arms that get no seed beyond the first few; None before that can be told."""
    jobs: dict[Run, Job] = field(default_factory=dict)
    begun: dict[Run, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """That those runs took which this driver saw begin and end."""
    kills: Counter[tuple[Run, float]] = field(default_factory=Counter)
    """By run and time of its checkpoint: one that got on counts from zero."""
    looked: float = 0.0
    shown: float = 0.0

    def to_the_end(self) -> Ended:
        """Drive until there is nothing left to do."""
        start = time.monotonic()
        self.states = {run: state_of(run, self.plan.split) for run in self.plan.runs}
        for run, state in self.states.items():
            if state not in SETTLED and (job := self.engine.attach(run.folder / LOG)):
                self.jobs[run], self.states[run] = job, "running"
        try:
            while True:
                before = dict(self.states)
                self._look()
                if self.stop.requested:
                    self._cancel()
                    raise ComparisonInterrupted(self.plan.folder)
                if self.dropped is None:
                    self.dropped = drop(self.plan, self.states)
                for run in self._next(time.monotonic() - start):
                    self._start(run)
                self._show(changed=before != self.states)
                if "running" not in self.states.values():
                    return "budget" if self._left() else "finished"
                time.sleep(_TICK)
        finally:
            self._cancel()

    def _next(self, elapsed: float) -> list[Run]:
        """The runs to start now, in the order of seeds, if possible."""
        found: list[Run] = []
        left, budget = self._left(), self.plan.config.budget_seconds
        for place, seed in enumerate(self.plan.config.all_seeds):
            block = [run for run in left if run.seed == seed]
            if place >= RACE_AFTER and self.dropped is None:
                break
            fresh = place > 0 and not any(run.seed == seed for run in self.begun)
            if budget is not None and fresh and elapsed + self._expected(len(block)) > budget:
                break
            found += [run for run in block if self.states[run] != "running"]
            if budget is not None and block:
                break  # the next block begins when this one has ended
        return found[: max(0, self._places() - self._running())]

    def _left(self) -> list[Run]:
        """The unfinished runs, running ones too, without dropped arms."""
        return [run for run in self.plan.runs if self.states[run] not in SETTLED and not self._is_dropped(run)]

    def _is_dropped(self, run: Run) -> bool:
        return run.arm in (self.dropped or ()) and run.seed not in self.plan.config.all_seeds[:RACE_AFTER]

    def _places(self) -> int:
        return self.plan.jobs or len(self.plan.runs)

    def _running(self) -> int:
        return sum(state == "running" for state in self.states.values())

    def _expected(self, runs: int) -> float:
        """Seconds of more runs; 0 if none was timed yet."""
        return sum(self.seconds) / max(1, len(self.seconds)) * runs / max(1, min(self._places(), runs))

    def _start(self, run: Run) -> None:
        prepare(run, self.plan.folder)
        self.begun[run] = time.monotonic()
        self.jobs[run] = self.engine.submit(command_of(run), run.folder / LOG)
        self.states[run] = "running"

    def _look(self) -> None:
        """Check for ended jobs, and sometimes for other drivers' progress."""
        for run, job in list(self.jobs.items()):
            if job.done():
                del self.jobs[run]
                self._settle(run, job.result())
        if time.monotonic() >= self.looked + _LOOK:
            self.looked = time.monotonic()
            for run, state in self.states.items():
                if state == "running" and run not in self.jobs:
                    self.states[run] = state_of(run, self.plan.split)

    def _settle(self, run: Run, code: int) -> None:
        """Note what has become of a run whose job has ended."""
        state = self.states[run] = state_of(run, self.plan.split)
        if state == "finished" and run in self.begun:
            self.seconds.append(time.monotonic() - self.begun[run])
        if state in (*SETTLED, "running"):
            return
        last = run.folder / "last.ckpt"
        kill = run, last.stat().st_mtime if last.exists() else 0.0
        self.kills[kill] += 1
        if code < 0 or code == _INTERRUPTED or IN_USE in tail(run.folder / LOG, 2000):
            if self.kills[kill] < ATTEMPTS:
                return
            reason = f"it was killed {ATTEMPTS} times (exit code {code}) and got no further: out of memory?"
        else:
            reason = reason_in(run.folder / LOG)
        write_failure(run, reason, code)
        self.states[run] = "failed"

    def _cancel(self) -> None:
        """Ask all jobs to end, and wait; a second request stops waiting."""
        jobs, self.jobs = self.jobs, {}
        for job in jobs.values():
            job.cancel()
        for job in jobs.values():
            job.result()

    def _show(self, *, changed: bool) -> None:
        if self.show is not None and (changed or time.monotonic() >= self.shown + _LOOK):
            self.shown = time.monotonic()
            runs = tuple(
                status_of(run, "dropped" if self._is_dropped(run) and state not in SETTLED else state)
                for run, state in self.states.items()
            )
            self.show(Status(runs, self._seconds_left(runs)))

    def _seconds_left(self, runs: tuple[RunStatus, ...]) -> float | None:
        """Seconds until the end, from the times of earlier runs."""
        left = [one.seconds_left for one in runs if one.state == "running"]
        known = [seconds for seconds in left if seconds is not None]
        waiting = sum(one.state in ("waiting", "interrupted") for one in runs) + len(left) - len(known)
        if self.seconds:
            each = sum(self.seconds) / len(self.seconds)
        elif known and self.begun:
            each = max(known) + time.monotonic() - min(self.begun.values())
        else:
            return 0.0 if not left and not waiting else None
        return (sum(known) + waiting * each) / max(1, min(self._places(), len(left) + waiting))
