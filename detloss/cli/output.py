"""Where the commands print."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from detloss.text import printable_lines

if TYPE_CHECKING:
    from rich.table import Table

Step = TypeVar("Step")

AP_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""Those of COCO's numbers that tables show."""
_PIPE_WIDTH = 10_000
"""Columns of a pipe or a file: whatever reads it gets whole lines."""


def stdout() -> Console:
    """Return the console for results.

    It is as wide as the terminal; a pipe or a file gets whole lines.
    """
    return _Console(width=_width(sys.stdout), markup=False, emoji=False, highlight=False)


def stderr() -> Console:
    """Return the console for notes and errors."""
    return _Console(stderr=True, width=_width(sys.stderr), markup=False, emoji=False, highlight=False)


def new_table(name: str, *headings: str, numbers: Iterable[str] = (), whole: bool = False) -> Table:
    """Return an empty table: a column of names, others, then numbers.

    With ``whole`` names are not folded.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column(name, style="bold cyan", overflow="fold", no_wrap=whole)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def ap(value: float) -> str:
    """Return one of COCO's numbers as tables show it."""
    # COCO writes -1 where there is no object to measure on.
    return "-" if value < 0 else f"{value:.3f}"


def plain(text: str) -> str:
    """Return a docstring's text escaped and without backticks."""
    return printable_lines(re.sub(r"`+([^`]*)`+", r"\1", text))


def prose(docstring: str) -> str:
    """Return a cleaned docstring with each paragraph on one line.

    The terminal wraps them; indented blocks and lists stay as they are.
    """
    paragraphs = re.split(r"\n\s*\n", docstring)
    joined = (part if re.search(r"^(\s|[-*] )", part, re.MULTILINE) else part.replace("\n", " ") for part in paragraphs)
    return plain(re.sub(r"::$", ":", "\n\n".join(joined), flags=re.MULTILINE))


def with_bar(steps: Iterable[Step], what: str, total: int | None = None) -> Iterable[Step]:
    """Draw a bar on a terminal while steps are taken."""
    from rich.progress import track

    console = stderr()
    return track(steps, what, total, console=console, transient=True, disable=not console.is_terminal)


class _Console(Console):
    """Escapes whatever would steer the terminal.

    Strangers write packages, and name files and folders.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of anything that is printed, tables and bars included."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)


def _width(stream: TextIO | None) -> int | None:
    # A stream that the shell has closed (`2>&-`) is None.
    return None if stream is not None and stream.isatty() else _PIPE_WIDTH
