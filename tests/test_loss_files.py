"""How the files of detloss's own losses are written."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest

from detloss import find_plugins
from detloss.loss import BoxRegressionLoss
from detloss.registry import load

PACKAGES = ("detloss-l1", "detloss-iou", "detloss-gaussian")
PLUGINS = [plugin for plugin in find_plugins() if plugin.package in PACKAGES]
SOURCES = [path for name in PACKAGES for path in sorted(Path(__file__).parents[1].glob(f"plugins/{name}/src/*/*.py"))]
DOOR = {"detloss.loss", "detloss.boxes", "detloss.errors", "detloss.config", "detloss.heads.base"}

every_loss = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)


def has_one_formula(cls: type[BoxRegressionLoss]) -> bool:
    """Tell whether no mode, version or function chooses among several."""
    return all(get_origin(field.annotation) is not Literal for field in cls.Config.model_fields.values())


@every_loss
def test_a_file_is_half_formula(plugin: Any) -> None:
    """Where a loss has one formula, it begins by line 45 of the file."""
    cls = load(plugin).cls
    _, line = inspect.getsourcelines(cls.forward)
    assert line <= 45 or not has_one_formula(cls)


def test_most_losses_have_one_formula() -> None:
    """The test above looks at most losses."""
    assert sum(has_one_formula(load(plugin).cls) for plugin in PLUGINS) >= 20


@every_loss
def test_the_docstring_has_a_short_first_line_and_sections(plugin: Any) -> None:
    """The first line has at most twelve words; source, range and degenerate boxes are sections."""
    docstring = inspect.cleandoc(load(plugin).cls.__doc__)
    first, _, _ = docstring.partition("\n")
    assert first.endswith(".")
    assert len(first.split()) <= 12
    sections = re.findall(r"^([A-Z][\w ]+):\n    \S", docstring, re.MULTILINE)
    assert {"References", "Range", "Degenerate boxes"} <= set(sections)


@every_loss
def test_nothing_of_the_base_is_repeated(plugin: Any) -> None:
    """A class states no attribute that its base has with the same value, but for the space, which a listing reads."""
    cls = load(plugin).cls
    base = cls.__mro__[1]
    names = ("recommended_weights", "value_range", "minimum", "invariances")
    # In a file that derives from another file's class, only the file itself says what the loss is fed.
    stated = [name for name in (*names, *["space"] * (base is BoxRegressionLoss)) if name in vars(cls)]
    assert [name for name in stated if getattr(cls, name) == getattr(base, name)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_first_party_losses_use_the_public_door(path: Path) -> None:
    """A plugin imports what any author may import of detloss, and its own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.ImportFrom) or not node.level
        modules = [node.module] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            own = module.partition(".")[0] == path.parent.name
            assert own or module.partition(".")[0] != "detloss" or module in DOOR
            if module == "detloss.config":
                assert [alias.name for alias in node.names] == ["build_loss"]
