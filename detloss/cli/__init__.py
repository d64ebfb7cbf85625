"""The command line; the only place that prints."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


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
    if command == ["list"] and set(options) <= {"--heads", "--json"}:
        # Typer takes as long to import as the whole listing; what else there is to `list` goes through it.
        from detloss.cli.listing import print_list  # noqa: PLC0415

        try:
            print_list(heads="--heads" in options, as_json="--json" in options)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read the output (`head`, say) has seen enough; without this Python complains at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return 0
    from detloss.cli.app import app  # noqa: PLC0415 - as above
    from detloss.errors import DetlossError  # noqa: PLC0415

    try:
        app()
    except DetlossError as error:
        from detloss.cli.output import stderr  # noqa: PLC0415

        stderr().print(f"Error: {error}", markup=False, highlight=False)
        return 1
    return 0
