"""The command line; the only place that prints."""

from __future__ import annotations

import sys
from traceback import walk_tb

__all__ = ["main"]


def main() -> int:
    """Run the `detloss` command on ``sys.argv``.

    Returns:
        The exit code: 1 where detloss refused something, 2 on wrong usage, each with the message on stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    import click

    from detloss.cli.app import app
    from detloss.cli.command import INTERRUPTED
    from detloss.errors import DetlossError

    try:
        return app.main(prog_name="detloss", standalone_mode=False) or 0
    except click.ClickException as error:
        from detloss.cli.help import print_usage_error

        print_usage_error(error)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except DetlossError as error:
        _print_error(str(error))
    except Exception as error:
        if not _reads_metadata(error):
            raise
        _print_error(_faulty_metadata(error))
    return 1


def _print_error(message: str) -> None:
    from detloss.cli.output import stderr

    out = stderr()
    for line in f"Error: {message}".split("\n"):
        # A command is to be copied: it is left to the terminal to wrap.
        out.print(line, soft_wrap=line.startswith(("  detloss ", "  pip ", "  cp ", "  mv ")))


def _reads_metadata(error: BaseException | None) -> bool:
    """Whether an error came up while packages' metadata was read.

    pydantic and torch read that of all packages when they are imported.
    """
    while error is not None:
        frames = (frame for frame, _ in walk_tb(error.__traceback__))
        if any(str(frame.f_globals.get("__name__")).startswith("importlib.metadata") for frame in frames):
            return True
        error = error.__cause__ or error.__context__
    return False


def _faulty_metadata(error: Exception) -> str:
    from detloss.registry.scan import scan
    from detloss.text import clipped

    problems = "".join(f"\nProblem: {problem}" for problem in scan().problems)
    return (
        "a library that this command needs reads the metadata of all installed packages when it is imported, and "
        f"gave up at a faulty one ({type(error).__name__}: {clipped(error)}). `detloss doctor` says what helps."
        f"{problems}"
    )
