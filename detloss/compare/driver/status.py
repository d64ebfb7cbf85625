"""The progress of a comparison, for a table or for lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from detloss.compare.driver.states import LOG, State, tail
from detloss.compare.plan import Run

Shown = State | Literal["dropped"]


@dataclass(frozen=True)
class RunStatus:
    """Where one run is."""

    arm: str
    seed: int
    state: Shown
    epoch: int
    """From 1; 0 before it has begun."""
    epochs: int
    ap: float | None
    """Of the last evaluation on validation data."""
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
    """Where a comparison is."""

    runs: tuple[RunStatus, ...]
    """In the order of the plan: all arms of a seed, then all of the next."""
    seconds_left: float | None
    """Until the end of all; None before that can be told."""


def status_of(run: Run, state: Shown) -> RunStatus:
    """Where a run is, by what it writes into its folder."""
    epochs = run.arm.config.train.epochs
    epoch, ap, left = 0, None, None
    for line in tail(run.folder / "metrics.jsonl", 8000).splitlines():
        try:
            found = json.loads(line)
        except ValueError:  # the first one is cut
            continue
        epoch, ap = found["epoch"], found.get("val/AP", ap)
    if state == "running" and (position := _POSITION.findall(tail(run.folder / LOG, 2000))):
        left = 0.0
        for part in position[-1].split(":"):
            left = 60 * left + int(part)
    return RunStatus(run.arm.label, run.seed, state, epoch, epochs, ap, left)


_POSITION = re.compile(r"step \d+/\d+: loss .* ([\d:]+) left")
"""How a run says in its log where it is."""
