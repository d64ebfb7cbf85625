"""Write the table of checks in docs/contract.md from `detloss.testing.CHECKS`; ``--check`` only compares."""

from __future__ import annotations

import re
from pathlib import Path

from pages import rewrite

from detloss.testing import CHECKS

OUTPUT = Path(__file__).resolve().parent / "contract.md"
TABLE = re.compile(r"(?<=\n)\| check \| what it proves \|\n(?:\|.*\|\n)+")


def page(text: str) -> str:
    """Return the page with the checks that there are."""
    rows = [f"| `{check.name}` | {check.proves} |\n" for check in CHECKS]
    return TABLE.sub(lambda _: "".join(["| check | what it proves |\n", "| --- | --- |\n", *rows]), text)


def main(arguments: list[str] | None = None) -> None:
    """Write the page; with ``--check`` fail if it is out of date."""
    rewrite(__file__, __doc__, OUTPUT, page, arguments)


if __name__ == "__main__":
    main()
