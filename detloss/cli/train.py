"""`detloss train`: train a detector."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import FAILED, Command, Result, needs
from detloss.cli.options import PATH, config_or_default, overrides, print_default
from detloss.errors import NonFiniteError
from detloss.text import counted, printable_lines

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.training import TrainResult
    from detloss.training.progress import Position

_CLASSES = 40
"""So many classes are shown with their AP at most, the lowest first."""


def _training() -> Any:
    with needs("train", "Training"):
        from detloss.training import run  # noqa: F401
    from detloss import training

    return training


@click.command("train", cls=Command, json="Print the final metrics as JSON, nothing else.")
@config_or_default
@overrides
@click.option("--output", "-o", type=PATH, help="Folder of the run; by default runs/<name>-<time>.")
@click.option("--resume", type=PATH, help="Folder of a run to continue, or its last.ckpt.")
@print_default("config", lambda: _training().default_config())
def command(config: Path | None, overrides: tuple[str, ...], output: Path | None, resume: Path | None) -> Result | None:
    """Train a detector on COCO data, or on synthetic images.

    The run's folder gets the resolved config, metrics, curves, checkpoints and an image of predictions. Ctrl-C leaves
    a checkpoint to resume from. Without a config, a small detector is trained on synthetic images.
    """
    training = _training()
    terminal = _log_to_stderr()
    try:
        with _bar(terminal) if terminal else contextlib.nullcontext("lines") as progress:
            result = training.train(config, output=output, resume=resume, overrides=overrides, progress=progress)
    except training.Interrupted as stop:
        if _is_first():
            _print_interrupted(stop.folder)
        raise click.Abort from None
    except NonFiniteError:
        # All processes agree on it, and the first one's message holds what each of them found.
        if _is_first():
            raise
        raise click.exceptions.Exit(FAILED) from None
    return Result({"folder": str(result.folder), **result.metrics}, lambda: _print(result)) if result.is_main else None


def _is_first() -> bool:
    """Whether this is the first process on this machine.

    Lightning and torchrun number those that they start.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _log_to_stderr() -> Console | None:
    """Let the log go to stderr; return its console on a terminal.

    A bar can be drawn there too.
    """
    from detloss.cli.output import stderr

    logger = logging.getLogger("detloss")
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    terminal = stderr() if sys.stderr.isatty() else None
    if terminal:
        from rich.logging import RichHandler

        handler = RichHandler(console=terminal, show_path=False, show_level=False, log_time_format="%H:%M:%S")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if _is_first() else logging.ERROR)
    logger.propagate = False
    return terminal


@contextlib.contextmanager
def _bar(terminal: Console) -> Iterator[Callable[[Position], None]]:
    """Give a function that draws where the run is below the log."""
    from rich.progress import BarColumn, Progress, TextColumn

    from detloss.training.progress import duration

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    # It is drawn where the position changes, by no thread of its own.
    bar = Progress(*columns, console=terminal, expand=True, transient=True, auto_refresh=False)
    task = bar.add_task("", numbers="")

    def show(at: Position) -> None:
        loss = "" if at.loss is None else f", loss {at.loss:.3f}"
        bar.update(
            task,
            description="evaluating {}/{}".format(*at.evaluated) if at.evaluated else f"epoch {at.epoch}/{at.epochs}",
            completed=at.step,
            total=at.steps,
            numbers=f"step {at.step}/{at.steps}, {at.seconds_a_step:.3f} s/step, {at.images_a_second:.1f} images/s"
            f"{loss}, {duration(at.seconds_left)} left",
        )
        bar.start()
        bar.refresh()

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def _print_interrupted(folder: Path) -> None:
    from detloss.cli.output import stderr

    way = (
        f"--resume {shlex.quote(str(folder))}"
        if (folder / "last.ckpt").exists()
        else "again: there is no checkpoint yet"
    )
    # To be copied, it is left to the terminal to wrap.
    stderr().print(f"Interrupted. Continue with: detloss train {way}", soft_wrap=True)


def _print(result: TrainResult) -> None:
    from detloss.cli.output import AP_NUMBERS, ap, new_table, stdout
    from detloss.training.folder import FILES, LOGGERS

    out = stdout()
    titles = {"best": "validation, best epoch", "last": "validation, last epoch"}
    if test := result.metrics["checkpoint"].get("test"):
        titles["test"] = f"test, {test.removesuffix('.ckpt')} epoch"
    measured = {title: result.metrics[key] for key, title in titles.items() if key in result.metrics}
    table = new_table("", numbers=("epoch", *AP_NUMBERS))
    for title, numbers in measured.items():
        table.add_row(title, str(numbers.get("epoch", "")), *(ap(numbers[name]) for name in AP_NUMBERS))
    out.print()
    out.print(table)
    del measured[titles["last"]]
    classes = sorted((value, key) for key, value in result.metrics["best"].items() if key.startswith("AP/"))
    if len(classes) > 1:
        table = new_table("AP of class", numbers=measured)
        for _, key in classes[:_CLASSES]:
            numbers_of_class = (ap(numbers.get(key, -1)) for numbers in measured.values())
            table.add_row(key.removeprefix("AP/"), *numbers_of_class)
        out.print()
        out.print(table)
        if len(classes) > _CLASSES:
            out.print(f"... and {counted(len(classes) - _CLASSES, 'class')} with a higher AP: metrics.json")
    out.print()
    out.print(f"The run is in {result.folder}", soft_wrap=True)
    words = {**FILES, **{f"{name}/": f"what the logger {name} wrote" for name in LOGGERS}}
    for name, word in words.items():
        if (result.folder / name).exists():
            out.print(f"  {name:<{max(map(len, FILES))}}  {word}")
    # To be copied, it is left to the terminal to wrap.
    out.print(
        f"\nTo find objects in your own images:\n  detloss predict {shlex.quote(str(result.folder))} IMAGE...",
        soft_wrap=True,
    )
