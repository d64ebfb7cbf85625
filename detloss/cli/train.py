"""`detloss train`: train a detector as a config says, or without one a small detector on drawn shapes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detloss.cli import INTERRUPTED
from detloss.cli.options import ConfigOrDefault, Overrides
from detloss.errors import DetlossError, NonFiniteError
from detloss.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.training import TrainResult

_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def command(
    config: ConfigOrDefault = None,
    *,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the run; by default runs/<name>-<time>.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Folder of an interrupted run to continue.", show_default=False)
    ] = None,
    print_default: Annotated[
        bool, typer.Option("--print-default", help="Print the config that is used without one, and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final metrics as JSON, nothing else.")] = False,
) -> None:
    """Train a detector on COCO data; without a config, a small one on drawn shapes.

    The run's folder gets the resolved config, metrics, checkpoints and a picture of predictions. Ctrl-C leaves a
    checkpoint to resume from.
    """
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        training = _training()
        if not print_default:
            _log_to_stderr()
            try:
                result = training.train(
                    config,
                    output=output,
                    resume=resume,
                    overrides=tuple(overrides or ()),
                    progress="bar" if sys.stdout.isatty() and not as_json else "lines",
                )
            except training.Interrupted as stop:
                if _is_first():
                    _print_interrupted(stop.folder)
                raise typer.Exit(INTERRUPTED) from None
            except NonFiniteError:
                # All processes agree on it, and the first one's message holds what each of them found.
                if _is_first():
                    raise
                raise typer.Exit(1) from None
    if print_default:
        print(training.default_config(), end="")
    elif not result.is_main:
        return
    elif as_json:
        print(json.dumps({"folder": str(result.folder), **result.metrics}, indent=2))
    else:
        from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

        _print(stdout(), result)


def _training() -> Any:
    try:
        from detloss.training import run  # noqa: PLC0415, F401 - help needs none of it
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("detloss"):
            raise
        message = f"Training needs {error.name}, which is not installed. Run\n  pip install 'detloss[train]'"
        raise DetlossError(message) from error
    from detloss import training  # noqa: PLC0415

    return training


def _is_first() -> bool:
    """Whether this is the first process on this machine; Lightning and torchrun number those that they start."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _log_to_stderr() -> None:
    from detloss.cli.output import stderr  # noqa: PLC0415 - as in `command`

    logger = logging.getLogger("detloss")
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    if sys.stderr.isatty():
        from rich.logging import RichHandler  # noqa: PLC0415 - writes above the progress bar, not through it

        handler = RichHandler(console=stderr(), show_path=False, show_level=False, log_time_format="%H:%M:%S")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if _is_first() else logging.ERROR)
    logger.propagate = False


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def _print_interrupted(folder: Path) -> None:
    from detloss.cli.output import stderr  # noqa: PLC0415 - as in `command`

    way = (
        f"--resume {shlex.quote(str(folder))}"
        if (folder / "last.ckpt").exists()
        else "again: there is no checkpoint yet"
    )
    # To be copied, it is left to the terminal to wrap.
    stderr().print(f"Interrupted. Continue with: detloss train {way}", soft_wrap=True)


def _print(out: Console, result: TrainResult) -> None:
    from detloss.cli.output import new_table  # noqa: PLC0415 - as in `command`

    table = new_table("")
    table.add_column("epoch", justify="right")
    for name in _NUMBERS:
        table.add_column(name, justify="right")
    titles = {"best": "validation, best epoch", "last": "validation, last epoch", "test": "test, best epoch"}
    for key, title in titles.items():
        if numbers := result.metrics.get(key):
            epoch = str(numbers["epoch"] + 1) if "epoch" in numbers else ""
            table.add_row(title, epoch, *(_number(numbers[name]) for name in _NUMBERS))
    out.print()
    out.print(table)
    out.print()
    out.print(f"The run is in {result.folder}", soft_wrap=True)
    what = {
        "predictions.png": "predictions over ground truth in some images",
        "best.ckpt": "weights of the best epoch",
        "metrics.jsonl": "losses and evaluations",
        "config.yaml": "the config, resolved",
    }
    for name, meaning in what.items():
        if (result.folder / name).exists():
            out.print(f"  {name:<16} {meaning}")


def _number(value: float) -> str:
    # COCO writes -1 where there is no object to measure on.
    return "-" if value < 0 else f"{value:.3f}"
