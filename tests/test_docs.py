"""The configs that the docs show are valid, and so are those beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from runs import config_file
from tiny_detectors import faster_rcnn

from detloss import injected, load_config
from detloss.compare.plan import load_compare, make_plan
from detloss.config import TRAIN_SECTIONS, ModelConfig
from detloss.config.files import read_document
from detloss.models import check_model
from detloss.training import TrainConfig, default_config

DOCS = Path(__file__).resolve().parent.parent / "docs"
SHOWN = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]
FILES = [path for path in sorted(DOCS.rglob("*.yaml")) if "evidence" not in path.parts]


@pytest.mark.parametrize("text", SHOWN)
def test_a_config_that_the_docs_show_is_valid(text: str, tmp_path: Path) -> None:
    """Every YAML block of the docs is a whole config that `detloss validate`, or `detloss compare`, would accept."""
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    data = read_document(path).data
    if "base" in data:
        (tmp_path / data["base"]).write_text(default_config())
        assert make_plan(load_compare(path), tmp_path / "comparison").runs
        return
    sections = set(data) & TRAIN_SECTIONS
    schema = TrainConfig if sections else ModelConfig
    assert load_config(path, schema, check=check_model).model


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_config_beside_the_docs_is_valid(path: Path) -> None:
    """Every config file of the docs is one that `detloss train` would accept."""
    assert load_config(path, TrainConfig, check=check_model).losses


@pytest.mark.slow
def test_losses_are_compared_in_python_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of the page on comparing trains and compares, here with one seed and a run of seconds."""
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "compare.md").read_text(encoding="utf-8"), re.DOTALL)
    config_file(tmp_path, train={"epochs": 1}).rename(tmp_path / "config.yaml")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    exec(compile(block.replace("seeds=5", "seeds=1"), "compare.md", "exec"), namespace)
    assert namespace["compared"].comparison.differences[0].arm == "giou:10"
    assert list(tmp_path.glob("runs/compare-*/report.html"))


def test_the_module_in_user_code_is_built_as_shown() -> None:
    """The Python of the page on Lightning runs on a detector of the user's."""
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "lightning.md").read_text(encoding="utf-8"), re.DOTALL)
    namespace: dict[str, object] = {"my_detector": faster_rcnn()}
    exec(compile(block, "lightning.md", "exec"), namespace)
    assert list(injected(namespace["module"])) == ["roi_heads"]


def test_a_model_is_built_from_a_file_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of the config page builds the model of the file that stands above it."""
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    config, code = re.findall(r"```(?:yaml|python)\n(.*?)```", page, re.DOTALL)[:2]
    (tmp_path / "model.yaml").write_text(config, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(code, "config.md", "exec"), namespace)
    assert "roi_heads: 10 * giou(" in str(injected(namespace["model"]))


def test_there_are_configs_to_check() -> None:
    """The parametrised tests above have found the docs."""
    assert len(SHOWN) >= 3
    assert {"giou.yaml", "smooth_l1.yaml"} <= {path.name for path in FILES}
