from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import run
from jinja2 import UndefinedError
from packaging.version import Version

import detloss
from detloss.config.read_yaml import read_yaml
from detloss.errors import ScaffoldError
from detloss.scaffold import write_plugin
from detloss.scaffold.package import TEMPLATE
from detloss.testing import check_loss

ROOT = Path(__file__).resolve().parent.parent

TITLES = {
    "plain": "Power IoU",
    "quotes": '''"Best" 'loss' with """three""" and \'\'\'three\'\'\' and "last"''',
    "backslash": r"$\alpha$-IoU in C:\new\u00e9 \\",
    "braces": "{{ 7 * 7 }} {% if x %} {# not #} ${x} {0}",
    "unicode": "β-IoU — 損失関数 😀 é",
    "yaml": "- a: 'b' # c, [d]: &e",
    "null": "null",
    "number": "1e3",
    "long": "A loss whose title goes on and on and says nothing " * 3 + "at all.",
    "long unicode": "損失 関数 の 題 " * 19 + "終",
    "one long word": "x" * 200,
    "lower case": "smooth loss?",
}
SPACES = ("boxes", "deltas")
PARAMETERS = {
    "none": "",
    "one": "alpha=3.0",
    "several": "alpha=3 beta=1E-7:ge=0,lt=5 gamma=-1.5 delta=0 eta=2:ge=-1",
    "large and small": "alpha=1e+9:lt=1E+20 beta=-1e9 gamma=1e-20:ge=0,le=1e1 zeta=-0",
    "twelve": " ".join(f"a_rather_long_name_of_a_parameter_{letter}=1.5:gt=0,le=10" for letter in "abcdefghijkl"),
}


pytestmark = pytest.mark.usefixtures("home")


def loaded(file: Path, name: str = "a_module") -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loss_class(folder: Path, module: str, name: str) -> Any:
    return getattr(loaded(folder / "src" / module / "__init__.py", module), name)


def is_linted(folder: Path) -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=folder)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)
    for file in folder.rglob("*.py"):
        assert max(map(len, file.read_text(encoding="utf-8").splitlines())) <= 120 or "x" * 200 in file.read_text()


def test_what_is_written(tmp_path: Path) -> None:
    """A package has its project file, loss, type marker, README, license, tests, CI and ignored files."""
    folder, files = write_plugin("power_iou", tmp_path / "new")
    assert folder == tmp_path / "new"
    assert files == (
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/detloss_power_iou/__init__.py",
        "src/detloss_power_iou/py.typed",
        "tests/test_power_iou.py",
    )
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "detloss-power-iou"
    assert project["entry-points"] == {"detloss.losses": {"power_iou": "detloss_power_iou:PowerIoULoss"}}
    version = Version(detloss.__version__)
    required = f"detloss>={version.major}.{version.minor},<{version.major}.{version.minor + 1}"
    assert required in project["dependencies"]
    workflow = yaml.safe_load((folder / ".github/workflows/test.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step][1:] == [
        "ruff check",
        "ruff format --check",
        "mypy",
        "pytest",
    ]
    assert steps[1]["with"]["python-version"] == "${{ matrix.python }}"


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES.keys())
def test_an_awkward_title(tmp_path: Path, title: str) -> None:
    """Whatever is in the title, paper and author: every file can be read, says it, and passes ruff."""
    answers = {"title": title, "paper": f"{title[:150]}, 2024", "author": title, "parameters": "alpha=3.0"}
    folder, _ = write_plugin("power_iou", tmp_path / "new", answers)
    is_linted(folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == f"{title.strip()}, a box-regression loss for detloss"
    assert project["authors"] == [{"name": title.strip()}]
    source = (folder / "src/detloss_power_iou/__init__.py").read_text(encoding="utf-8")
    (node,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    docstring = ast.get_docstring(node)
    assert docstring is not None
    words = docstring.split()
    # A docstring says " as ', so that three of them cannot end it; a long title loses the point at its end.
    assert " ".join(title.replace('"', "'").rstrip(".").split()) in " ".join(words)
    assert "arXiv" not in docstring
    readme = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert readme[0] == f"# {title.strip()}"


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS.keys())
def test_every_space_and_any_number_of_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str, parameters: str
) -> None:
    """The written loss passes ruff and its own test of a value, and every parameter moves its value."""
    answers = {"space": space, "parameters": parameters, "distribution": "My.Own--Loss"}
    folder, _ = write_plugin("own", folder=tmp_path / "new", answers=answers)
    is_linted(folder)
    cls = loss_class(folder, "my_own_loss", "OwnLoss")
    assert cls.space == space
    assert cls.__doc__
    pair = torch.tensor([[0.0, 0.0, 2.0, 4.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    value = cls()(*pair).item()
    assert value == {"boxes": 0.5, "deltas": 2.0}[space]
    assert len(cls.Config.model_fields) == len(parameters.split())
    for name, field in cls.Config.model_fields.items():
        assert cls(**{name: field.default + 1.0})(*pair).item() != value
    monkeypatch.syspath_prepend(folder / "src")
    monkeypatch.delitem(sys.modules, "my_own_loss", raising=False)
    test = loaded(folder / "tests/test_own.py")
    assert test.CHECKS
    test.test_value()
    config = (folder / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    spec = read_yaml(config).data["losses"]["roi_heads"]
    params = {} if isinstance(spec, str) else {key: float(number) for key, number in spec.items() if key != "name"}
    assert params == {name: field.default for name, field in cls.Config.model_fields.items()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("alpha=3.0", {"ge": 0.03, "le": 300}),
        ("alpha=3", {"ge": 0.03, "le": 300}),
        ("alpha=-3", {"ge": -300, "le": -0.03}),
        ("alpha=0", {}),
        ("alpha=0:ge=0,le=10", {"ge": 0, "le": 10}),
        ("alpha=3.0:ge=1,le=10", {"ge": 1, "le": 10}),
        ("alpha=2:lt=1e3", {"ge": 0.02, "lt": 1000}),
        ("alpha=2:gt=-1.5", {"gt": -1.5, "le": 200}),
    ],
)
def test_bounds(tmp_path: Path, given: str, expected: dict[str, float]) -> None:
    """Bounds become those of the field; a side that has none is closed a hundred times off the default."""
    folder, _ = write_plugin("own", tmp_path / "new", {"parameters": given})
    (field,) = loss_class(folder, "detloss_own", "OwnLoss").Config.model_fields.values()
    found = {
        key: getattr(item, key) for item in field.metadata for key in ("gt", "ge", "lt", "le") if hasattr(item, key)
    }
    assert found == expected


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """A folder with anything in it is refused and stays as it is; an empty one, or an empty repository, is used."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    with pytest.raises(ScaffoldError, match=r"not empty \(found notes\.txt"):
        write_plugin("own", full)
    assert [path.name for path in full.iterdir()] == ["notes.txt"]
    with pytest.raises(ScaffoldError, match="is a file"):
        write_plugin("own", full / "notes.txt")
    with pytest.raises(ScaffoldError, match=r"notes\.txt is a file"):
        write_plugin("own", full / "notes.txt" / "below")
    assert (full / "notes.txt").read_text() == "mine"
    empty = tmp_path / "empty"
    (empty / ".git").mkdir(parents=True)
    _, files = write_plugin("own", empty)
    assert "pyproject.toml" in files


@pytest.mark.parametrize(
    ("license_", "words"),
    [
        ("MIT", ("MIT License", "AUTHORS OR COPYRIGHT HOLDERS BE LIABLE", "Copyright (c)")),
        ("BSD-3-Clause", ("BSD 3-Clause License", "IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE", "Copyright (c)")),
        ("Apache-2.0", ("Version 2.0, January 2004", "9. Accepting Warranty or Additional Liability", "Copyright 2")),
    ],
)
def test_the_whole_license_is_written(tmp_path: Path, license_: str, words: tuple[str, ...]) -> None:
    """Each license is there from its heading to its end, with the author's name."""
    folder, _ = write_plugin("own", tmp_path / "new", {"license": license_, "author": "Ada Lovelace"})
    text = (folder / "LICENSE").read_text()
    assert all(word in text for word in (*words, "Ada Lovelace"))
    assert "{{" not in text
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["license"] == license_


def test_everything_is_rendered_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that asks for what there is not is an error, and not even the folder is made."""
    shutil.copytree(TEMPLATE, tmp_path / "template")
    (tmp_path / "template" / "test_loss.py.jinja").write_text("{{ nothing_of_the_kind }}")
    monkeypatch.setattr("detloss.scaffold.package.TEMPLATE", tmp_path / "template")
    with pytest.raises(UndefinedError, match="nothing_of_the_kind"):
        write_plugin("own", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_else_is_written(home: Path, tmp_path: Path) -> None:
    """Outside of the new folder nothing is written, the home included."""
    before = set(tmp_path.rglob("*"))
    folder, files = write_plugin("own", tmp_path / "new")
    written = set(tmp_path.rglob("*")) - before
    assert {path for path in written if path.is_file()} == {folder / file for file in files}
    assert all(path.is_relative_to(folder) for path in written)


def test_a_written_loss_keeps_every_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The written loss for deltas passes every check of the kit. That for boxes does so in the tutorial, installed."""
    parameters = "alpha=3.0 eps=1e-7 gamma=-5 size=1000"
    folder, _ = write_plugin("promising", tmp_path / "new", {"space": "deltas", "parameters": parameters})
    monkeypatch.syspath_prepend(folder / "src")
    report = check_loss(importlib.import_module("detloss_promising").PromisingLoss)
    assert report.passed, str(report)


@pytest.mark.slow
def test_the_wheel_has_the_template(detloss_wheels: dict[str, Path], tmp_path: Path) -> None:
    """Every file of the template is in the wheel."""
    shutil.unpack_archive(detloss_wheels["detloss"], tmp_path / "wheel", "zip")
    unpacked = tmp_path / "wheel" / "detloss" / "scaffold" / "template"
    contents = [{path.name: path.read_bytes() for path in top.iterdir()} for top in (TEMPLATE, unpacked)]
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_written_packages_pass_mypy(tmp_path: Path) -> None:
    """Packages pass mypy in strict mode, with the settings that they are written with; here three at once."""
    kinds = {"one": ("boxes", ""), "two": ("boxes", "alpha=3.0 beta=-1"), "three": ("deltas", "alpha=2")}
    for name, (space, parameters) in kinds.items():
        folder, _ = write_plugin(name, tmp_path / name, {"space": space, "parameters": parameters})
    settings = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"] is True
    files = [str(tmp_path / name / place) for name in kinds for place in settings["files"]]
    sources = os.pathsep.join(str(tmp_path / name / "src") for name in kinds)
    cache = f"--cache-dir={ROOT / '.mypy_cache'}"
    run(sys.executable, "-m", "mypy", cache, *files, cwd=folder, MYPYPATH=sources)
