"""The command line; the only place that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from traceback import walk_tb

__all__ = ["INTERRUPTED", "main"]

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended: 128 + SIGINT."""


def main() -> int:
    """Run the `detloss` command on ``sys.argv``.

    Returns:
        The exit code: 1 where detloss refused something, with the message on stderr; typer exits with 2 on wrong usage.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    command, options = sys.argv[1:2], sys.argv[2:]
    if command == ["list"] and set(options) <= {"--heads", "--json", "--check"}:
        # Typer takes as long to import as the whole listing; what else there is to `list` goes through it.
        from detloss.cli.list import print_list  # noqa: PLC0415

        asked = {"heads": "--heads" in options, "as_json": "--json" in options, "check": "--check" in options}
        return _printed(lambda: print_list(**asked))
    if command == ["doctor"] and "--help" not in options:
        # Typer may load pydantic, which is one of the things that may be broken.
        from detloss.cli.doctor import run  # noqa: PLC0415

        return _printed(lambda: run(options))
    from detloss.cli.app import app  # noqa: PLC0415 - as above
    from detloss.errors import DetlossError  # noqa: PLC0415

    try:
        app()
    except DetlossError as error:
        from detloss.cli.output import stderr  # noqa: PLC0415

        out = stderr()
        for line in f"Error: {error}".split("\n"):
            # A command is to be copied: it is left to the terminal to wrap.
            out.print(line, soft_wrap=line.startswith(("  detloss ", "  pip ", "  cp ", "  mv ")))
        return 1
    except Exception as error:
        if not _reads_metadata(error):
            raise
        from detloss.cli.output import stderr  # noqa: PLC0415
        from detloss.registry.scan import scan  # noqa: PLC0415
        from detloss.text import clipped  # noqa: PLC0415

        problems = "".join(f"\nProblem: {problem}" for problem in scan().problems)
        what = (
            "a library that this command needs reads the metadata of all installed packages when it is imported, and "
            f"gave up at a faulty one ({type(error).__name__}: {clipped(error)}). `detloss doctor` says what helps."
        )
        stderr().print(f"Error: {what}{problems}")
        return 1
    return 0


def _reads_metadata(error: BaseException | None) -> bool:
    """Tell whether an error came up while metadata of installed packages was read, as pydantic and torch do."""
    while error is not None:
        frames = (frame for frame, _ in walk_tb(error.__traceback__))
        if any(str(frame.f_globals.get("__name__")).startswith("importlib.metadata") for frame in frames):
            return True
        error = error.__cause__ or error.__context__
    return False


def _printed(command: Callable[[], int]) -> int:
    try:
        status = command()
        if sys.stdout is not None:  # as of a stream that was closed when Python started
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output (`head`, say) has seen enough; without this Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status
