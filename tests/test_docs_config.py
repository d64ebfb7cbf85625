"""docs/config.md lists every key of the data, of the training and of a comparison."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from detloss.compare.plan import load_compare
from detloss.compare.plan.compare_config import ArmConfig, CompareConfig, RayEngine, SlurmEngine
from detloss.training import default_config
from detloss.training.settings import AugmentConfig, DataConfig, FitConfig, ShapesConfig, SplitConfig

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "config.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate_config.py"))


def test_the_tables_are_up_to_date(generator: dict[str, Any]) -> None:
    """The page has the keys that there are today; if not, the message names the command that fixes it."""
    generator["main"](["--check"])


def test_every_key_has_a_line_with_its_default_and_meaning() -> None:
    """Each field of each section has one line, with four cells that are not empty."""
    sections = {
        "train": FitConfig,
        "data": DataConfig,
        "data.shapes": ShapesConfig,
        "data.augment": AugmentConfig,
        "data.train": SplitConfig,
        "data.val": SplitConfig,
        "data.test": SplitConfig,
    }
    keys = [f"{section}.{name}" for section, model in sections.items() for name in model.model_fields]
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith(("| `data.", "| `train."))]
    assert sorted(cells[0].strip("`") for cells in lines) == sorted(keys)
    assert all(len(cells) == 4 and all(cells) for cells in lines)
    assert ["`train.lr`", "number > 0", "`0.0005`"] in [cells[:3] for cells in lines]


def test_every_key_of_a_comparison_has_a_line() -> None:
    """So has each key of a compare.yaml, of its losses and of its engines."""
    for model in (CompareConfig, ArmConfig, SlurmEngine, RayEngine):
        found = re.findall(r"^\| `(\w+)` \|.+\| .+ \|$", PAGE.partition("## A comparison")[2], flags=re.MULTILINE)
        assert model.model_fields.keys() <= set(found)


def test_the_example_of_a_comparison_is_one(tmp_path: Path) -> None:
    """The compare.yaml on the page is read as it stands."""
    (tmp_path / "train.yaml").write_text(default_config(), encoding="utf-8")
    file = tmp_path / "compare.yaml"
    file.write_text(PAGE.partition("```yaml\n# compare.yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert [arm.title for arm in load_compare(file).losses] == ["smooth_l1", "giou:10", "ciou@equal", "softer"]


def test_a_stale_table_is_found(generator: dict[str, Any], tmp_path: Path) -> None:
    """A page with another default fails the comparison, and writing fixes it."""
    page = tmp_path / "config.md"
    page.write_text(PAGE.replace("| `0.0005` |", "| `0.0001` |"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"config\.md is out of date: run"):
        generator["main"](["--check", "--output", str(page)])
    generator["main"](["--output", str(page)])
    assert page.read_text(encoding="utf-8") == PAGE
