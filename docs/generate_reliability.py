"""Write the last column of the table in docs/reliability.md: the tests of each row; ``--check`` only compares."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
OUTPUT = DOCS / "reliability.md"
ROW = re.compile(r"^(\| (\d+) \|.*\|)[^|\n]*\|$", re.MULTILINE)
TEST = re.compile(r"test_row_(\d\d)_(\w+)")


def tests() -> dict[int, dict[Path, list[str]]]:
    """Return row -> test file -> names of the tests of the row in it, without their beginning."""
    found: dict[int, dict[Path, list[str]]] = {}
    for file in sorted((DOCS.parent / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := TEST.fullmatch(node.name)):
                found.setdefault(int(match[1]), {}).setdefault(file, []).append(match[2])
    return found


def page() -> str:
    """Return the page with the tests that there are."""
    found = tests()

    def cell(row: re.Match[str]) -> str:
        of_row = found.get(int(row[2]), {})
        links = (
            f"[{file.name}](../{file.relative_to(DOCS.parent).as_posix()}): {', '.join(f'`{name}`' for name in names)}"
            for file, names in of_row.items()
        )
        return f"{row[1]} {'; '.join(links)} |"

    return ROW.sub(cell, OUTPUT.read_text(encoding="utf-8"))


def main() -> int:
    """Write the page, or with ``--check`` return 1 where it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    text = page()
    if parser.parse_args().check:
        return int(OUTPUT.read_text(encoding="utf-8") != text)
    OUTPUT.write_text(text, encoding="utf-8")
    print(f"wrote {OUTPUT.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
