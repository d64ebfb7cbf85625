"""Data against models and against the losses that it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from power_losses import AroundLoss, findings, places

from detloss import ConfigError, build_loss, load_config, register, registry

pytestmark = pytest.mark.usefixtures("power_losses")


def test_row_21_bomb_of_python_lists() -> None:
    """A mapping whose lists hold one another many times is refused as the alias bomb of a file is."""
    bomb: list[Any] = [0] * 10
    for _ in range(20):
        bomb = [bomb] * 10
    (finding,) = findings({"model": "x", "options": {"a": bomb}})
    assert finding.message.startswith("more than 10000 values")
    assert finding.key.startswith("options.a.0.0")


def test_row_21_too_deep_in_python() -> None:
    """A mapping nested deeper than 32 levels is refused, and so is one with a list that holds itself."""
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for value in (deep, endless):
        (finding,) = findings({"model": "x", "options": {"a": value}})
        assert finding.message == "nested deeper than 32 levels"
        assert finding.key.startswith("options.a.0.0")


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_are_finite(write: Callable[..., Path], number: str) -> None:
    """NaN and infinity are refused once each, also where any value is allowed."""
    file = write(f"model: x\noptions: {{a: {number}}}\nlosses: {{roi_heads: {{name: power, power: {number}}}}}\n")
    assert places(file) == [(2, 14, "options.a"), (3, 42, "losses.roi_heads.power")]


def test_row_06_head_name_taken_in_a_config(packages: Any, write: Callable[..., Path]) -> None:
    """A config for a head whose name two packages claim is refused with both named; `package:name` is valid."""
    packages.add("taker", entry_points="[detloss.heads]\nroi_heads = m:C\n")
    (finding,) = findings(write("model: x\nlosses: {roi_heads: power}\n"))
    assert (finding.line, finding.column, finding.key) == (2, 10, "losses.roi_heads")
    assert "'roi_heads' is claimed by detloss 0.1.0" in finding.message
    assert "and taker 1.0" in finding.message
    assert list(load_config(write("model: x\nlosses: {'detloss:roi_heads': power}\n")).losses) == ["detloss:roi_heads"]


@pytest.mark.parametrize("name", ["os.system", "os:system", "../x", "torch.nn.L1Loss", "x" * 10_000, "a\x1b[31m"])
def test_row_20_import_path_in_a_config(write: Callable[..., Path], name: str) -> None:
    """A config never imports what its name spells: an import path is refused with a short, printable message."""
    (finding,) = findings(write(json.dumps({"model": "x", "losses": {"rpn": {"name": name}}}), "m.json"))
    assert finding.key == "losses.rpn.name"
    assert "cannot be the name of a loss" in finding.message or "There is no loss 'os:system'" in finding.message
    assert finding.message.isprintable()
    assert len(finding.message) < 400


def test_row_22_nested_losses(write: Callable[..., Path]) -> None:
    """Losses within losses are checked to the bottom: names, parameters, and the envelope that they may not have."""
    file = write(
        "model: x\n"
        "losses:\n"
        "  roi_heads:\n"
        "    name: around\n"
        "    inner: {name: around, inner: {name: power, pwoer: 1}}\n"
        "    more: [power, {name: pwer}, {name: power, weight: 2}]\n"
    )
    noted = {each.key: each for each in findings(file)}
    assert list(noted) == [
        "losses.roi_heads.inner.inner.pwoer",
        "losses.roi_heads.more.1.name",
        "losses.roi_heads.more.2.weight",
    ]
    assert (noted["losses.roi_heads.inner.inner.pwoer"].line, noted["losses.roi_heads.inner.inner.pwoer"].column) == (
        5,
        48,
    )
    assert "out of the inner loss" in noted["losses.roi_heads.more.2.weight"].message


def test_nested_default_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that holds a missing loss by default is refused, and so is one that holds itself without end."""
    monkeypatch.setattr(registry, "_registered", {})
    register(AroundLoss)
    with pytest.raises(ConfigError, match=r"inner: There is no loss 'power'|inner\.name: There is no loss 'power'"):
        build_loss("around")
    register(AroundLoss, name="power")
    with pytest.raises(ConfigError, match="nested deeper"):
        build_loss("around")


def test_lists_stand_for_tuples() -> None:
    """A strict tuple parameter takes the list that a file can write, and nothing is converted beyond that."""
    assert build_loss({"name": "power", "bounds": [0, 2]}).config.bounds == (0.0, 2.0)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"bounds\.1: should be a valid number, found '2'"):
        build_loss({"name": "power", "bounds": [0, "2"]})


def test_row_22_broken_plugin_is_a_finding(packages: Any, write: Callable[..., Path]) -> None:
    """A loss whose import fails is a finding of the config that names it, with its line and its package."""
    packages.add("ill", losses={"ill": "ill_module:X"}, modules={"ill_module.py": "raise OSError('no disk')"})
    (finding,) = findings(write("model: x\nlosses:\n  roi_heads: ill\n"))
    assert (finding.line, finding.column, finding.key) == (3, 14, "losses.roi_heads")
    assert "ill 1.0" in finding.message
    assert "no disk" in finding.message


BROKEN_CONFIGS = """
from pydantic import Field
from detloss.loss import BoxRegressionLoss, LossConfig

class Base(BoxRegressionLoss):
    def forward(self, pred, target): return (pred - target).sum(-1)

class NoSchemaLoss(Base):
    class Config(LossConfig):
        curve: "Missing | None" = None

class RaisingLoss(Base):
    class Config(LossConfig):
        curve: list[float] = Field(default_factory=lambda: 1 / 0)
"""
SPEAKING_VALIDATOR = """
from pydantic import field_validator
from detloss.loss import BoxRegressionLoss, LossConfig

class SpeakingLoss(BoxRegressionLoss):
    class Config(LossConfig):
        mode: str = "a"

        @field_validator("mode")
        @classmethod
        def check(cls, value):
            if value != "a":
                raise ValueError(f"no mode {value}")
            return value

    def forward(self, pred, target): return (pred - target).sum(-1)
"""


def test_row_20_what_a_validator_says_is_escaped(packages: Any, write: Callable[..., Path]) -> None:
    """The words of a plugin's validator, with the config's value in them, cannot steer the terminal."""
    packages.add("speak", losses={"speaking": "speak_m:SpeakingLoss"}, modules={"speak_m.py": SPEAKING_VALIDATOR})
    file = write('{"model": "x", "losses": {"rpn": {"name": "speaking", "mode": "\\u001b[2J"}}}', "m.json")
    assert [(each.key, each.message) for each in findings(file)] == [("losses.rpn.mode", "no mode \\x1b[2J")]


def test_row_24_a_broken_schema_breaks_no_other_config(packages: Any, write: Callable[..., Path]) -> None:
    """Beside losses whose Configs cannot be built, a config of another loss is valid; one of theirs has a finding."""
    packages.add(
        "broken",
        losses={"no_schema": "broken_c:NoSchemaLoss", "raising": "broken_c:RaisingLoss"},
        modules={"broken_c.py": BROKEN_CONFIGS},
    )
    assert load_config(write("model: x\nlosses: {roi_heads: power}\n")).losses["roi_heads"][0].name == "power"
    file = write("model: x\nlosses: {roi_heads: no_schema, rpn: raising, retinanet: {name: power, pwoer: 1}}\n")
    noted = {each.key: each for each in findings(file)}
    assert noted.keys() == {"losses.roi_heads", "losses.rpn", "losses.retinanet.pwoer"}
    assert "The loss 'no_schema' of broken 1.0 cannot be used: " in noted["losses.roi_heads"].message
    assert "The loss 'raising' of broken 1.0 cannot be used: " in noted["losses.rpn"].message


@pytest.mark.parametrize("key", ["weigth", "nomalizer", "compil"])
def test_row_22_mistyped_envelope(write: Callable[..., Path], key: str) -> None:
    """A mistyped key of the envelope is an unknown parameter, and the envelope's key is the near one."""
    (finding,) = findings(write(f"model: x\nlosses: {{rpn: {{name: power, {key}: 2}}}}\n"))
    assert (finding.line, finding.column) == (2, 29)
    assert finding.near == {"weigth": "weight", "nomalizer": "normalizer", "compil": "compile"}[key]


def test_row_22_mistyped_name(write: Callable[..., Path]) -> None:
    """A spec without a name says what a name is, and which key may be meant for it."""
    missing, empty = findings(write("model: x\nlosses: {rpn: [{nme: power, power: 3}], roi_heads: ''}\n"))
    assert missing.key == "losses.rpn.0.name"
    assert missing.message.startswith("is missing (is 'nme' meant for it?): Name of an installed loss")
    assert (empty.key, empty.message) == ("losses.roi_heads", "should have at least 1 character, found ''")


def test_row_22_a_boolean_is_true_or_false(write: Callable[..., Path]) -> None:
    """Where true or false is expected, the error says so in a config's words."""
    (finding,) = findings(write("model: x\nlosses: {rpn: {name: power, compile: 'yes'}}\n"))
    assert finding.message == "should be true or false, found 'yes'. Fix: write true"


@pytest.mark.parametrize("name", ["m.json", "m.yaml"])
def test_half_characters(write: Callable[..., Path], name: str) -> None:
    """Half of a character that is no Unicode text is refused, as value and as key, beside other errors."""
    half = r'"\ud800"'
    file = write(f'{{"model": {half}, "password": {half},\n {half}: 1, "num_classes": 0}}', name)
    noted = {each.key: each for each in findings(file)}
    assert noted["model"].message == r"should be Unicode text without NUL, found '\ud800'"
    place = (1, 11) if name == "m.yaml" else (1, 1)  # the YAML parser that says where JSON stands refuses it
    assert (noted["model"].line, noted["model"].column) == place
    assert noted[r"\ud800"].message == "a key is Unicode text without NUL"
    assert (noted[r"\ud800"].line, noted[r"\ud800"].column) == ((2, 2) if name == "m.yaml" else (1, 1))
    assert noted["num_classes"].message == "should be greater than or equal to 2, found 0"


@pytest.mark.parametrize("key", ["weights", "weights_backbone"])
def test_row_45_nul(write: Callable[..., Path], key: str) -> None:
    """A NUL, which no name and no path can hold, is a finding at its place."""
    (finding,) = findings(write(f'{{"model": "x", "num_classes": 2,\n "{key}": "a\\u0000.pth"}}', "m.json"))
    assert (finding.key, finding.line) == (key, 2)
    assert finding.message == r"should be Unicode text without NUL, found 'a\x00.pth'"


def test_python_objects_are_refused() -> None:
    """What a file could not hold is refused in a mapping as well, with the way out."""
    (finding,) = findings({"model": "x", "options": {"norm_layer": object}})
    assert finding.key == "options.norm_layer"
    assert "detloss.inject" in finding.message
