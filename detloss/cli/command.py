"""What every command is made with: result, exit code, needed extras."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from typing import Any, NamedTuple

import click

from detloss.cli.help import Helpful
from detloss.errors import DetlossError

FAILED = 1
"""Exit code where what was asked for was found to be wrong."""
UNMET = 3
"""Exit code where a condition of `detloss compare` does not hold."""
INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended: 128 + SIGINT."""


class Result(NamedTuple):
    """What a command found.

    Attributes:
        data: What ``--json`` prints: data, or JSON that is written already.
        text: Prints the same for a reader.
        status: The exit code.
    """

    data: Any
    text: Callable[[], None]
    status: int = 0


class Command(Helpful, click.Command):
    """A command, which returns a `Result`, an exit code or nothing.

    One with ``json``, the help of its option ``--json``, returns a `Result`. Until then everything that plugins and
    libraries print goes to stderr.
    """

    def __init__(self, *arguments: Any, json: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if json:
            self.params.append(click.Option(["--json", "as_json"], is_flag=True, help=json))

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, print its result and return the exit code."""
        as_json = ctx.params.pop("as_json", None)
        try:
            if as_json is None:
                status = super().invoke(ctx) or 0
            else:
                with stdout_to_stderr():
                    result = super().invoke(ctx)
                status = 0 if result is None else _print(result, as_json)
            if sys.stdout is not None:  # as of a stream that was closed when Python started
                sys.stdout.flush()  # while click still catches that the reader of a pipe is gone
        except KeyboardInterrupt:
            raise click.Abort from None
        except SystemExit as error:
            if error.code:
                raise
            # A plugin that calls sys.exit(0) must not make the command look like a success.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            what = f"code of a plugin ended the command with sys.exit({error.code}), at {frame.filename}:{frame.lineno}"
            raise DetlossError(f"{what}. Tell its authors.") from error
        return int(status)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what Python and the libraries below it print to stderr."""
    with redirect_stdout(sys.stderr) as stderr, ExitStack() as after:
        # Python has None for a stream that was closed when it started.
        if stderr is not None and sys.__stdout__ is not None:
            sys.__stdout__.flush()
            own = os.dup(_STDOUT)
            after.callback(os.close, own)
            after.callback(os.dup2, own, _STDOUT)
            os.dup2(_STDERR, _STDOUT)
        yield


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Name the extra to install if an import of this block fails.

    A terminal shows meanwhile that libraries are loading.

    Args:
        extra: Its name, as in ``detloss[train]``.
        what: What cannot be done without it: the beginning of the error.
    """
    from detloss.cli.output import stderr

    waiting = sys.stderr is not None and sys.stderr.isatty()  # torch and Lightning take up to ten seconds
    try:
        with stderr().status("Loading libraries") if waiting else nullcontext():
            yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("detloss"):
            raise
        raise DetlossError(
            f"{what} needs {error.name}, which is not installed. Run\n  pip install 'detloss[{extra}]'"
        ) from error


def _print(result: Result, as_json: bool) -> int:
    if not as_json:
        result.text()
    elif isinstance(result.data, str):
        print(result.data, end="")
    else:
        from json import dumps

        print(dumps(result.data, indent=2))
    return result.status


_STDOUT, _STDERR = 1, 2
"""File descriptors of every process."""
