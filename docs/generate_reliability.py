"""Write tests/reliability.md, the tests of each row of docs/reliability.md; ``--check`` only compares."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
TESTS = DOCS.parent / "tests"
OUTPUT = TESTS / "reliability.md"
ROW = re.compile(r"^\| (\d+) \| (.*?) \| (.*?) \|$", re.MULTILINE)
TEST = re.compile(r"test_row_(\d\d)_(\w+)")
HEAD = """<!-- Written by docs/generate_reliability.py from the names of the tests. -->
# The tests of docs/reliability.md

The tests of row 7 are those whose names begin with `test_row_07_`, here without that beginning.

| # | fault | tests |
| --- | --- | --- |
"""


def tests() -> dict[int, dict[Path, list[str]]]:
    """Return row -> test file -> short names of the row's tests."""
    found: dict[int, dict[Path, list[str]]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := TEST.fullmatch(node.name)):
                found.setdefault(int(match[1]), {}).setdefault(file, []).append(match[2])
    return found


def page() -> str:
    """Return the table of all rows and their tests."""
    found = tests()
    rows = ROW.findall((DOCS / "reliability.md").read_text(encoding="utf-8"))
    return HEAD + "".join(f"| {row} | {fault} | {_links(found.get(int(row), {}))} |\n" for row, fault, _ in rows)


def main() -> int:
    """Write the page; with ``--check`` return 1 if out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    text = page()
    if parser.parse_args().check:
        return int(OUTPUT.read_text(encoding="utf-8") != text)
    OUTPUT.write_text(text, encoding="utf-8")
    print(f"wrote {OUTPUT.name}")
    return 0


def _links(files: dict[Path, list[str]]) -> str:
    return "; ".join(
        f"[{file.name}]({file.relative_to(TESTS).as_posix()}): {', '.join(f'`{name}`' for name in names)}"
        for file, names in files.items()
    )


if __name__ == "__main__":
    raise SystemExit(main())
