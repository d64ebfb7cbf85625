"""Write the tables of checks in docs/contract.md from `detloss.testing`; ``--check`` only compares."""

from __future__ import annotations

import re
from pathlib import Path

from pages import markdown_table, rewrite

from detloss.testing import CHECKS, HEAD_CHECKS, Check

OUTPUT = Path(__file__).resolve().parent / "contract.md"
TABLE = re.compile(r"(?<=\n)\| check \| what it proves \|\n(?:\|.*\|\n)+")


def page(text: str) -> str:
    """Return the page with the checks that there are: first those of losses, then those of heads."""
    kinds = iter((CHECKS, HEAD_CHECKS))
    return TABLE.sub(lambda _: _table(next(kinds)), text)


def _table(checks: tuple[Check, ...]) -> str:
    return markdown_table(("check", "what it proves"), [(f"`{check.name}`", check.proves) for check in checks])


def main(arguments: list[str] | None = None) -> None:
    """Write the page; with ``--check`` fail if it is out of date."""
    rewrite(__file__, __doc__, OUTPUT, page, arguments)


if __name__ == "__main__":
    main()
