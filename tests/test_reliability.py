"""The table of docs/reliability.md and the tests whose names begin with test_row_ belong together."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = {int(row[1]): row[0] for row in re.finditer(r"^\| (\d+) \|.*\|$", PAGE, re.MULTILINE)}


def linked(row: int) -> list[tuple[str, str]]:
    """File and whole name of each test that a row links."""
    cell = ROWS[row].rsplit("|", 2)[1]
    return [
        (path, f"test_row_{row:02}_{name}")
        for path, names in re.findall(r"\]\(\.\./([^)]+)\): ([^;]*)", cell)
        for name in re.findall(r"`(\w+)`", names)
    ]


def functions() -> dict[str, list[str]]:
    """Test file -> the tests in it."""
    return {
        file.relative_to(ROOT).as_posix(): [
            node.name
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        for folder in ("tests", "plugins")
        for file in sorted((ROOT / folder).rglob("test_*.py"))
    }


FUNCTIONS = functions()


def test_the_rows_are_in_order() -> None:
    """The table has rows 1 to 45, in order."""
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert rows == list(range(1, 46))


@pytest.mark.parametrize("row", sorted(ROWS))
def test_a_row_links_tests_that_exist(row: int) -> None:
    """Each row has a fault, what detloss does, and at least one link to a test, all of which are there."""
    _, number, fault, does, *_ = (cell.strip() for cell in ROWS[row].split("|"))
    assert number == str(row)
    assert fault
    assert does.endswith(".")
    assert linked(row)
    assert [(path, name) for path, name in linked(row) if name not in FUNCTIONS.get(path, ())] == []


def test_every_test_of_a_row_is_linked() -> None:
    """No test that is named after a row is missing in its row, and none is linked twice."""
    there = [(path, name) for path, names in FUNCTIONS.items() for name in names if name.startswith("test_row_")]
    links = [link for row in ROWS for link in linked(row)]
    assert sorted(there) == sorted(links)
    assert max(Counter(links).values()) == 1


def test_every_link_leads_somewhere() -> None:
    """Each relative link of the page leads to a file of the repository."""
    links = [link for link in re.findall(r"\]\(([^)#]+)", PAGE) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).resolve().is_file()] == []
