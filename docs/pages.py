"""Shared by the scripts here: writes or checks a generated part."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def rewrite(
    script: str, about: str | None, output: Path, page: Callable[[str], str], arguments: Sequence[str] | None = None
) -> None:
    """Write a page; with ``--check`` fail if it is out of date.

    Args:
        script: File of the script that does it.
        about: Its docstring, whose first line is the help.
        output: The page.
        page: From the text that is there to the one that should be.
        arguments: Of the command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    parser.add_argument("--output", type=Path, default=output, help="the page")
    options = parser.parse_args(arguments)
    old = options.output.read_text(encoding="utf-8")
    new = page(old)
    if options.check and new != old:
        raise SystemExit(f"{options.output.name} is out of date: run `python docs/{Path(script).name}`.")
    if not options.check:
        options.output.write_text(new, encoding="utf-8")
        print(f"wrote {options.output.name}")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    # A bar ends a cell, in code too.
    cells = ([re.sub(r"(?<!\\)\|", r"\|", cell) for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
