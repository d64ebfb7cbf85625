"""Plugins that raise, leave or steer the terminal after their import, in commands."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]

HEAD = """
import sys
from typing import ClassVar
from pydantic import Field, field_validator
from detloss.loss import BoxRegressionLoss, LossConfig

def fail(*_):
    {}

class Loss(BoxRegressionLoss):
    def forward(self, pred, target): return (pred - target).abs().sum(-1)
"""
RAISE, LEAVE = "raise ZeroDivisionError('nothing')", "sys.exit(0)"
SAYS = {RAISE: "ZeroDivisionError: nothing", LEAVE: "ended the program with sys.exit(0)"}

FACTORY = "    class Config(LossConfig):\n        alpha: float = Field(default_factory=fail)\n"
SCHEMA = "    class Config(LossConfig):\n        alpha: float = Field(1.0, json_schema_extra=fail, ge=0, le=2)\n"
META = """
class Meta(type(BoxRegressionLoss)):
    @property
    def extras(cls): fail()
    @extras.setter
    def extras(cls, value): pass
class Other(BoxRegressionLoss, metaclass=Meta):
    def forward(self, pred, target): return (pred - target).abs().sum(-1)
Loss = Other
"""


@pytest.fixture
def hostile(packages: Any) -> Callable[..., Any]:
    """Return a function that installs the package ``hostile`` with one loss of that name."""

    def add(source: str, does: str = "pass") -> None:
        name = f"hostile_m{abs(hash((source, does)))}"
        packages.add("hostile", losses={"hostile": f"{name}:Loss"}, modules={f"{name}.py": HEAD.format(does) + source})

    return add


@pytest.mark.parametrize(
    ("command", "source"),
    [("show", FACTORY), ("show", META), ("schema", SCHEMA)],
    ids=["factory", "property", "schema"],
)
@pytest.mark.parametrize("does", [RAISE, LEAVE], ids=["raises", "leaves"])
def test_row_35_code_of_a_plugin(
    hostile: Callable[..., Any], run_detloss: Run, command: str, source: str, does: str
) -> None:
    """What a plugin raises after its import names package, plugin and its own line, `SystemExit` included."""
    hostile(source, does)
    doing = "its schema" if command == "schema" else "its description"
    code, out, err = run_detloss(command, *(["hostile"] if command == "show" else []))
    assert f"The loss 'hostile' of hostile 1.0 cannot be used: {doing} " in err
    assert SAYS[does] in err
    assert ".py:8 in fail" in err
    if command == "show":
        assert (code, out) == (1, "")
    else:
        assert code == 0
        assert "loss.giou" in json.loads(out)["$defs"], "the others are there"


@pytest.mark.parametrize("docstring", ["7", "['a']", "type('T', (str,), {'expandtabs': fail})('x')"])
def test_row_35_a_docstring_that_is_no_text(hostile: Callable[..., Any], run_detloss: Run, docstring: str) -> None:
    """A docstring that is not text is the package's fault, and is said to be."""
    hostile(f"Loss.__doc__ = {docstring}\n", RAISE)
    code, out, err = run_detloss("show", "hostile")
    assert (code, out) == (1, "")
    assert "The loss 'hostile' of hostile 1.0 cannot be used: its description raised" in err


def test_row_36_a_command_that_is_left(
    hostile: Callable[..., Any], run_detloss: Run, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    """A plugin that calls sys.exit(0) where no other guard is ends the command with an error and its place."""
    hostile(
        "    class Config(LossConfig):\n        alpha: float = 1.0\nLoss.recommended_weights = Leaving()\n".replace(
            "Leaving()", "type('W', (dict,), {'get': fail})()"
        ),
        LEAVE,
    )
    config = write("model: fasterrcnn_resnet50_fpn\nlosses: {rpn: hostile}\n")
    code, out, err = run_detloss("validate", str(config))
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert "sys.exit(0)" in err
    assert ".py:8" in err


STEERING = (
    HEAD
    + """
    __doc__ = "Red \\x1b[31m loss.\\n\\nMore \\x9b2J of \\u202e it."
    class Config(LossConfig):
        alpha: float = Field(1.0, description="Clear \\x1b[2J it.", ge=0, le=2)
        mode: str = "\\x1b]0;title\\x07"
Loss.__qualname__ = Loss.__name__ = "Lo\\x1b[31mss"
"""
)


@pytest.mark.parametrize("arguments", [("show", "steering"), ("list",), ("check", "steering"), ("schema",)])
def test_row_37_no_text_of_a_plugin_steers_the_terminal(
    packages: Any, run_detloss: Run, arguments: tuple[str, ...]
) -> None:
    """Escapes in docstrings, descriptions, defaults and class names are printed as escapes, whatever the command."""
    packages.add("steering", losses={"steering": "steer_m:Loss"}, modules={"steer_m.py": STEERING.format("pass")})
    _, out, err = run_detloss(*arguments)
    assert "steering" in out
    assert all(line.isprintable() for line in (out + err).split("\n"))


def test_row_37_no_file_name_steers_the_terminal(run_detloss: Run, tmp_path: Path) -> None:
    """Escapes in the name of a file are escaped in the error that names it."""
    file = tmp_path / "red\x1b[31m.yaml"
    file.write_text("model: 3\nloses: {}\n", encoding="utf-8")
    code, out, err = run_detloss("validate", str(file))
    assert (code, out) == (1, "")
    assert "red\\x1b[31m.yaml" in err
    assert all(line.isprintable() for line in err.split("\n"))


def test_row_37_no_log_steers_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is logged, as names of folders and images are, is escaped line by line."""
    from detloss.cli.train import _log_to_stderr

    logger = logging.getLogger("detloss")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(logger, "level", logger.level)
    _log_to_stderr()
    logger.warning("image %s\nskipped", "\x1b[2J.png")
    assert capsys.readouterr().err.endswith(" image \\x1b[2J.png\nskipped\n")


def test_row_37_progress_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table, a progress bar and a plain line are printed by one console, which escapes all of them."""
    from rich.progress import track
    from rich.table import Table

    from detloss.cli.output import stdout

    monkeypatch.setenv("FORCE_COLOR", "1")
    console = stdout()
    console.file = io.StringIO()
    table = Table("a\x1b[31m")
    table.add_row("b\x1b[31m")
    console.print(table)
    console.print("c\x1b[31m\nd")
    for _ in track([1], "e\x1b[31m", console=console):
        pass
    text = console.file.getvalue()
    for letter in "abce":
        assert f"{letter}\x1b[31m" not in text
        assert f"{letter}\\x1b" in text
    assert "\nd\n" in text
