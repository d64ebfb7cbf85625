"""Write the table of checks in docs/contract.md from `detloss.testing.CHECKS`; ``--check`` only compares."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from detloss.testing import CHECKS

OUTPUT = Path(__file__).resolve().parent / "contract.md"
TABLE = re.compile(r"(?<=\n)\| check \| what it proves \|\n(?:\|.*\|\n)+")


def page(text: str) -> str:
    """Return the page with the checks that there are."""
    rows = [f"| `{check.name}` | {check.proves} |\n" for check in CHECKS]
    return TABLE.sub(lambda _: "".join(["| check | what it proves |\n", "| --- | --- |\n", *rows]), text)


def main(arguments: list[str] | None = None) -> None:
    """Write the page, or with ``--check`` end with an error where it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page")
    options = parser.parse_args(arguments)
    old = options.output.read_text(encoding="utf-8")
    new = page(old)
    if options.check and new != old:
        raise SystemExit(f"{options.output.name} is out of date: run `python docs/generate_contract.py`.")
    if not options.check:
        options.output.write_text(new, encoding="utf-8")
        print(f"wrote {options.output.name}")


if __name__ == "__main__":
    main()
