"""The guards that `tests/mutation/break_guards.py` breaks are there, and so are the tests that must notice."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "mutation" / "break_guards.py"


def mutations() -> list[Any]:
    spec = importlib.util.spec_from_file_location("break_guards", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["break_guards"] = module  # where a dataclass looks its module up
    spec.loader.exec_module(module)
    return module.mutations()


MUTATIONS = mutations()
FIRST = {mutation.row: mutation for mutation in reversed(MUTATIONS) if mutation.row is not None}


@pytest.mark.parametrize("row", sorted(FIRST))
def test_a_mutation_applies_and_its_test_exists(row: int) -> None:
    """The text of a guard stands in its file exactly once, what is left is still Python, and its test exists.

    Of each row the first one. The script says so of the others, and stops where a test does not exist.
    """
    mutation = FIRST[row]
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    if mutation.file.endswith(".py"):
        ast.parse(text.replace(mutation.old, mutation.new))
    path, _, name = mutation.test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name.partition("[")[0] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert name.startswith(f"test_row_{row:02}_")


def test_every_row_has_a_mutation() -> None:
    """A guard of each row of docs/reliability.md is broken at least once."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert rows
    assert {mutation.row for mutation in MUTATIONS} >= rows


@pytest.mark.slow
def test_the_script_breaks_a_guard_and_sees_its_test_fail() -> None:
    """The script reports a broken guard that its test catches, and leaves the repository as it was."""
    (mutation,) = (one for one in MUTATIONS if one.guard == "a NUL is flagged")
    before = (ROOT / mutation.file).read_bytes()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", mutation.guard], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 broken guards were caught." in done.stdout
    assert (ROOT / mutation.file).read_bytes() == before


def test_guards_have_names_of_their_own() -> None:
    """No two mutations have one name, so that `--only` and the table can tell them apart."""
    names = [mutation.guard for mutation in MUTATIONS]
    assert len(set(names)) == len(names)
