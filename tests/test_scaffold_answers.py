from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detloss.errors import ScaffoldError
from detloss.scaffold import write_plugin


@pytest.mark.parametrize(
    ("answers", "match"),
    [
        ({"title": ""}, "A title is needed"),
        ({"title": "two\nlines"}, "line break"),
        ({"title": "x" * 201}, "at most 200"),
        ({"paper": " "}, "name the source of the loss"),
        ({"author": "\x00"}, "control character"),
        ({"title": "\ud800"}, "control character"),
        ({"class_name": "alphaLoss"}, "a capital first"),
        ({"class_name": "Tensor"}, "already has a meaning"),
        ({"distribution": "-x"}, "not a package name"),
        ({"distribution": "9loss"}, "a letter first"),
        ({"distribution": "DetLoss"}, "would hide the module"),
        ({"distribution": "json"}, "is a module of Python"),
        ({"distribution": "Yield"}, "such as detloss-Yield"),
        ({"distribution": "../x"}, "not a package name"),
        ({"space": "pixels"}, "space"),
        ({"license": "GPL"}, "license"),
        ({"parameters": "alpha"}, "write NAME=NUMBER"),
        ({"parameters": "alpha=x"}, "You can add other types"),
        ({"parameters": "alpha=1:xx=3"}, "gt greater than"),
        ({"parameters": "lambda=1"}, "a keyword of Python"),
        ({"parameters": "weight=1"}, "key of every loss"),
        ({"parameters": "copy=1"}, "already has a meaning"),
        ({"parameters": "model_x=1"}, "already has a meaning"),
        ({"parameters": "config=1"}, "already has a meaning"),
        ({"parameters": "Field=1 alpha=2"}, "already has a meaning"),
        ({"parameters": "true=1"}, "as a value, not as text"),
        ({"parameters": "a=1:lt=010"}, "write NAME=NUMBER"),
        ({"parameters": "a=1 a=2"}, "more than once"),
        ({"parameters": "a=1:gt=2"}, "outside its own bound gt=2"),
        ({"parameters": "a=1:gt=0,ge=0"}, "two bounds on one side"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_refused(tmp_path: Path, answers: dict[str, str], match: str) -> None:
    """An answer that could make no package is refused with what is wrong, and nothing is written."""
    with pytest.raises(ScaffoldError, match=match):
        write_plugin("own", tmp_path / "new", answers)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", "9iou", "a b", "a.b", "a:b", "x" * 65, "../x", "é", "true", "Null"])
def test_a_wrong_name_is_refused(tmp_path: Path, name: str) -> None:
    """What the registry could never find, or a config would have to quote, is no name for a loss."""
    with pytest.raises(ScaffoldError, match="cannot be the name of a loss"):
        write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("giou2", "Giou2Loss"),
        ("xiou", "XIoULoss"),
        ("cubed_iou", "CubedIoULoss"),
        ("smooth-l9", "SmoothL9Loss"),
        ("myLoss", "MyLoss"),
        ("a_", "ALoss"),
    ],
)
def test_the_class_is_named_after_the_loss(tmp_path: Path, name: str, class_name: str) -> None:
    """The class has the words of the name, with IoU as the field writes it and Loss once."""
    folder, files = write_plugin(name, tmp_path / "new")
    (module,) = [file for file in files if file.endswith("__init__.py")]
    assert f"class {class_name}(BoxRegressionLoss)" in (folder / module).read_text()


def test_a_taken_name_is_refused(tmp_path: Path, packages: Any, loss_source: str) -> None:
    """A loss that an installed package has already is refused, unless it is the same package's own."""
    packages.add("far-loss", losses={"far": "far_l:FarLoss"}, modules={"far_l.py": loss_source})
    with pytest.raises(ScaffoldError, match=r"installed package far-loss 1\.0 already has a loss 'far'"):
        write_plugin("far", tmp_path / "new")
    write_plugin("far", tmp_path / "new", {"distribution": "Far_Loss"})
