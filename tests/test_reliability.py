"""The rows of docs/reliability.md and the tests whose names begin with test_row_ belong together."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_reliability.py"))
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = {int(row): (fault, does) for row, fault, does in GENERATOR["ROW"].findall(PAGE)}


def test_the_rows_are_in_order() -> None:
    """The table has rows 1 to 45, in order, and each says a fault and what detloss does."""
    assert list(ROWS) == list(range(1, 46))
    assert [row for row, (fault, does) in ROWS.items() if not fault or not does.endswith(".")] == []


def test_every_row_has_tests_and_every_test_a_row() -> None:
    """The rows are those that tests are named after."""
    assert sorted(GENERATOR["tests"]()) == list(ROWS)


def test_the_table_of_tests_is_up_to_date() -> None:
    """tests/reliability.md is what docs/generate_reliability.py writes."""
    written = (ROOT / "tests" / "reliability.md").read_text(encoding="utf-8")
    assert written == GENERATOR["page"](), "run: python docs/generate_reliability.py"


def test_the_page_is_for_users() -> None:
    """The page for users names no test, and each of its relative links leads to a file."""
    assert re.findall(r"\btest_\w+|\.\./tests/\S+", PAGE) == []
    links = [link for link in re.findall(r"\]\(([^)#]+)", PAGE) if "://" not in link]
    assert [link for link in links if not (ROOT / "docs" / link).resolve().is_file()] == []
