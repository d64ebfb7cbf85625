"""Where the commands print."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from rich.console import Console

_PIPE_WIDTH = 10_000
"""Columns of what is no terminal: whatever reads it gets whole lines."""


def stdout() -> Console:
    """Return the console for results: as wide as the terminal, and with whole lines in a pipe or a file."""
    return Console(width=_width(sys.stdout))


def stderr() -> Console:
    """Return the console for notes and errors."""
    return Console(stderr=True, width=_width(sys.stderr))


def plain(text: str) -> str:
    """Return a docstring's text as it reads: without the backticks of reStructuredText."""
    return re.sub(r"`+([^`]*)`+", r"\1", text)


def prose(docstring: str) -> str:
    """Return a cleaned docstring with each paragraph on one line, for the terminal to wrap; indented blocks stay."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    joined = (part if re.search(r"^(\s|[-*] )", part, re.MULTILINE) else part.replace("\n", " ") for part in paragraphs)
    return plain(re.sub(r"::$", ":", "\n\n".join(joined), flags=re.MULTILINE))


def _width(stream: TextIO | None) -> int | None:
    # A stream that the shell has closed (`2>&-`) is None.
    return None if stream is not None and stream.isatty() else _PIPE_WIDTH
