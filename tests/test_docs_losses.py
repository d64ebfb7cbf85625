from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from detloss import find_plugins

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate_losses.py"))


def test_page_is_up_to_date(generator: dict[str, Any]):
    """docs/losses.md is what the classes say today; if not, the message names the command that mends it."""
    generator["main"](["--check"])


def test_every_loss_has_a_section(generator: dict[str, Any]):
    """Each of detloss's own losses has a heading, which the overview links to, and a source."""
    page = (DOCS / "losses.md").read_text(encoding="utf-8")
    names = {plugin.name for plugin in find_plugins() if plugin.package in generator["PACKAGES"]}
    assert set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE)) == names
    assert set(re.findall(r"\(#(\w+)\)", page)) == names


def test_stale_page_is_found(generator: dict[str, Any], tmp_path: Path):
    """A page that differs in one word, or is missing, fails the check, and writing mends it."""
    page = tmp_path / "losses.md"
    arguments = ["--check", "--output", str(page)]
    with pytest.raises(SystemExit, match="is out of date: run"):
        generator["main"](arguments)
    page.write_text((DOCS / "losses.md").read_text(encoding="utf-8").replace("Published: 10", "Published: 11", 1))
    with pytest.raises(SystemExit, match="is out of date: run"):
        generator["main"](arguments)
    generator["main"](["--output", str(page)])
    generator["main"](arguments)
    assert page.read_text(encoding="utf-8") == (DOCS / "losses.md").read_text(encoding="utf-8")
