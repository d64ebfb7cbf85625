"""Runs of a comparison while they run.

A terminal gets a table, a pipe a line for each change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table
from rich.text import Text

from detloss.cli.output import ap, new_table, stderr
from detloss.compare.driver.status import RunStatus, Status
from detloss.text import counted
from detloss.training.progress import duration

_STYLES = {"running": "bold", "finished": "green", "failed": "red", "waiting": "dim", "dropped": "dim"}


@contextmanager
def shown() -> Iterator[Callable[[Status], None]]:
    """Give a function that shows where the runs are, on stderr."""
    console = stderr()
    if not console.is_terminal:
        yield _lines()
        return
    # It is drawn where the status changes, by no thread of its own.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda status: live.update(_table(status), refresh=True)


def _table(status: Status) -> Table:
    seeds = sorted({run.seed for run in status.runs})
    cells = {(run.arm, run.seed): run for run in status.runs}
    table = new_table("AP", *(f"seed {seed}" for seed in seeds))
    for arm in dict.fromkeys(run.arm for run in status.runs):
        table.add_row(arm, *(_cell(cells.get((arm, seed))) for seed in seeds))
    done = sum(run.state in _ENDED for run in status.runs)
    left = "" if status.seconds_left is None else f", {duration(status.seconds_left)} left"
    table.caption = f"{done} of {counted(len(status.runs), 'run')} done{left}"
    return table


_ENDED = ("finished", "failed", "dropped")


def _cell(run: RunStatus | None) -> Text:
    if run is None:
        return Text("")
    words = {
        "finished": "" if run.ap is None else ap(run.ap),
        "running": f"{run.epoch}/{run.epochs}{'' if run.ap is None else f'  {ap(run.ap)}'}",
        "waiting": "·",
    }
    return Text(words.get(run.state, run.state), style=_STYLES.get(run.state, ""))


def _lines() -> Callable[[Status], None]:
    """Give a function that prints a line when a run changes."""
    seen: dict[tuple[str, int], tuple[str, float | None]] = {}
    out = stderr()

    def show(status: Status) -> None:
        for run in status.runs:
            key, now = (run.arm, run.seed), (run.state, run.ap)
            if seen.get(key, ("waiting", None)) != now and run.state != "waiting":
                number = "" if run.ap is None else f", AP {ap(run.ap)}"
                epoch = f", epoch {run.epoch}/{run.epochs}" if run.state == "running" else ""
                left = "" if status.seconds_left is None else f" ({duration(status.seconds_left)} left in all)"
                out.print(f"{time.strftime('%H:%M:%S')} {run.arm}, seed {run.seed}: {run.state}{epoch}{number}{left}")
            seen[key] = now

    return show
