"""Write the table of losses in docs/performance.md from docs/speed.json; ``--check`` only compares.

`tests/benchmarks/losses.py --json docs/speed.json` measures the numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pages import markdown_table, rewrite

DOCS = Path(__file__).resolve().parent
TABLE = re.compile(r"(?<=\n)\| loss \| against \|.*\|\n(?:\|.*\|\n)+")


def page(text: str) -> str:
    """Return the page with the numbers that were measured last."""
    losses = json.loads((DOCS / "speed.json").read_text(encoding="utf-8"))["losses"]
    kinds = [(kind, size) for kind in ("eager", "compiled") for size in next(iter(losses.values()))[kind]]
    rows = [
        [f"`{name}`", one["against"], *(f"{one[kind][size]:.2f}" for kind, size in kinds), f"{one['memory']:.2f}"]
        for name, one in losses.items()
    ]
    head = ("loss", "against", *(f"{kind}, {int(size):,}" for kind, size in kinds), "memory")
    return TABLE.sub(lambda _: markdown_table(head, rows), text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or check the page."""
    rewrite(__file__, __doc__, DOCS / "performance.md", page, arguments)


if __name__ == "__main__":
    main()
