"""Engines: where the runs of a comparison run.

Each is one small file, imported when it is chosen.

An engine knows commands, not runs: all that must survive it is in the folders of the runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

KILLED = -9
"""Exit code of a job that ended without one of its own."""


class Job(Protocol):
    """A command that runs, or waits to run."""

    def done(self) -> bool:
        """Whether it has ended."""

    def result(self) -> int:
        """Wait for its end, and return its exit code; negative if killed."""

    def cancel(self) -> None:
        """Ask it to end: a run that trains writes a checkpoint first."""


class Engine(Protocol):
    """Runs commands."""

    def submit(self, command: Sequence[str], log: Path) -> Job:
        """Run ``python -m MODULE ARGUMENTS...`` now or later; what it prints is added to `log`."""

    def attach(self, log: Path) -> Job | None:
        """The running job with this log that an earlier process submitted."""

    def close(self) -> None:
        """Give back what the engine holds; no job runs any more."""
