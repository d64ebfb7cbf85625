"""docs/contract.md: its losses keep what it says, and its tables are those of the code."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest

from detloss.loss import EXTRAS, BoxRegressionLoss
from detloss.testing import CHECKS, check_loss
from detloss.testing.checks.definition import requirement_line

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "contract.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LOSSES = re.findall(r"^class (\w+)\(BoxRegressionLoss\)", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """All code of the page, as one module, imported from a file."""
    file = tmp_path_factory.mktemp("contract") / "contract_examples.py"
    file.write_text("\n".join(BLOCKS), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.syspath_prepend(file.parent)
        yield importlib.import_module("contract_examples")
    del sys.modules["contract_examples"]


def test_the_page_shows_four_losses():
    """One that is simple, one with an extra, one with state and a wrapper."""
    assert LOSSES == ["PowerIoULoss", "RelativeIoULoss", "SteadyIoULoss", "SoftenedLoss"]


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_of_the_page_keep_the_contract(examples: ModuleType, name: str):
    """Every loss that the page shows passes every check."""
    loss: type[BoxRegressionLoss] = getattr(examples, name)
    check_loss(loss).raise_for_failures()


def test_the_parametrised_line_runs(examples: ModuleType):
    """The test that the page shows passes for a check, and its report is printed when the page runs."""
    for check in CHECKS[:5]:
        examples.test_conformance(check)
    assert str(examples.report).endswith(examples.report.summary)


def test_a_wrapper_refuses_a_base_of_the_other_space(examples: ModuleType):
    """The wrapper of the page takes boxes, and says so of a base that takes deltas."""
    with pytest.raises(ValueError, match="the base l1 takes deltas"):
        examples.SoftenedLoss(base={"name": "l1"})


def test_the_table_of_checks_is_up_to_date():
    """The page lists every check with what it proves; if not, the message names the command that mends it."""
    runpy.run_path(str(DOCS / "generate_contract.py"))["main"](["--check"])
    for check in CHECKS:
        assert f"| `{check.name}` | {check.proves} |\n" in PAGE


def test_a_stale_table_is_found(tmp_path: Path):
    """A page that lacks a check fails the comparison, and writing mends it."""
    main = runpy.run_path(str(DOCS / "generate_contract.py"))["main"]
    page = tmp_path / "contract.md"
    page.write_text(re.sub(r"\| `shape` .*\n", "", PAGE), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"contract\.md is out of date: run"):
        main(["--check", "--output", str(page)])
    main(["--output", str(page)])
    assert page.read_text(encoding="utf-8") == PAGE


def test_the_extras_are_those_there_are():
    """The page lists every extra with its meaning, in the words of the code."""
    assert dict(
        re.findall(r"^\| `(image_size|anchors|\w+)` \| (\(N, \d\).*|`\(N, \d\)`.*) \|$", PAGE, re.MULTILINE)
    ) == {name: re.sub(r"^(\(N, \d\))", r"`\1`", meaning) for name, meaning in EXTRAS.items()}


def test_the_requirement_is_the_one_to_write():
    """The line of TOML that the page shows is the one that the check asks for."""
    assert f'dependencies = ["{requirement_line()}"]' in PAGE
