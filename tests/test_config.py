from __future__ import annotations

import json
import pickle
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from torch import Tensor

from detloss import (
    BoxRegressionLoss,
    ConfigError,
    LossConfig,
    LossSpec,
    ModelConfig,
    NestedSpec,
    UnknownPluginError,
    build_loss,
    load_config,
    register,
    registry,
)
from detloss.config import check_spec, is_path
from detloss.findings import Finding, findings_of, found, number_hint
from detloss.locate import MAX_BYTES, read_document
from detloss.scanner import TooDeepError, scan_json, scan_toml
from detloss.training.config import TrainConfig

Write = Callable[..., Path]


class PowerLoss(BoxRegressionLoss):
    """Distance to a power."""

    class Config(LossConfig):
        power: float = Field(2.0, gt=0)
        bounds: tuple[float, float] = (0.0, 1.0)
        api_token: int = 0

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).abs().sum(dim=-1) ** self.config.power


class AroundLoss(BoxRegressionLoss):
    """A loss around others."""

    class Config(LossConfig):
        inner: NestedSpec = NestedSpec(name="power")
        more: tuple[NestedSpec, ...] = ()

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return build_loss(self.config.inner)(pred, target)


@pytest.fixture(autouse=True)
def losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses `power` and `around`, for one test."""
    monkeypatch.setattr(registry, "_registered", {})
    register(PowerLoss)
    register(AroundLoss)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "model.yaml") -> Path:
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def findings(source: Any, **arguments: Any) -> tuple[Finding, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(source, **arguments)
    return findings_of(caught.value)


def places(source: Any, **arguments: Any) -> list[tuple[int | None, int | None, str]]:
    return [(each.line, each.column, each.key) for each in findings(source, **arguments)]


YAML = """\
model: ssd300_vgg16
num_classes: 4
options: {score_thresh: 0.5}
losses:
  roi_heads:
    - power
    - {name: power, power: 3, weight: 2}
"""
TOML = """\
model = "ssd300_vgg16"
num_classes = 4
options.score_thresh = 0.5
[[losses.roi_heads]]
name = "power"
[[losses.roi_heads]]
name = "power"
power = 3
weight = 2
"""
JSON = """\
{"$schema": "detloss.json", "model": "ssd300_vgg16", "num_classes": 4, "options": {"score_thresh": 0.5},
 "losses": {"roi_heads": ["power", {"name": "power", "power": 3, "weight": 2}]}}
"""


@pytest.mark.parametrize(("name", "text"), [("m.yaml", YAML), ("m.yml", YAML), ("m.toml", TOML), ("m.json", JSON)])
def test_formats(write: Write, name: str, text: str) -> None:
    """YAML, TOML, JSON and a mapping of the same content give the same config, with or without a byte order mark."""
    expected = ModelConfig(
        model="ssd300_vgg16",
        num_classes=4,
        options={"score_thresh": 0.5},
        losses={"roi_heads": (LossSpec(name="power"), LossSpec(name="power", power=3, weight=2))},
    )
    assert load_config(write(text, name)) == expected
    assert load_config(write(b"\xef\xbb\xbf" + text.encode(), name)) == expected
    assert load_config(yaml.safe_load(YAML)) == expected


def test_one_loss_is_a_list_of_one() -> None:
    """A name, a spec and a list of one of them are the same losses of a head, and null sections are empty ones."""
    for given_loss in ("power", {"name": "power"}, ["power"], [{"name": "power"}], LossSpec(name="power")):
        config = load_config({"model": "x", "losses": {"roi_heads": given_loss}, "options": None})
        assert config.losses == {"roi_heads": (LossSpec(name="power"),)}
        assert config.options == {}


def test_instance() -> None:
    """A config is checked like a file, and handed back itself where it is right."""
    config = ModelConfig(model="x", losses={"roi_heads": "power"})  # type: ignore[dict-item]
    assert load_config(config) is config
    wrong = ModelConfig(model="x", losses={"roi_heads": (LossSpec(name="power", pwoer=1),)})
    (finding,) = findings(wrong)
    assert (finding.key, finding.near) == ("losses.roi_heads.0.pwoer", "power")


def test_config_is_frozen() -> None:
    """A config cannot be changed."""
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig(model="x").model = "y"  # type: ignore[misc]


WRONG_YAML = """\
modle: ssd300_vgg16
num_classes: "4"
losses:
  roi_heads:
    - {name: power, pwoer: 3, weight: -2}
    - name: pwer
  rio_heads: power
"""
WRONG_TOML = """\
modle = "ssd300_vgg16"
num_classes = "4"
[[losses.roi_heads]]
name = "power"
pwoer = 3
weight = -2
[[losses.roi_heads]]
name = "pwer"
[losses.rio_heads]
name = "power"
"""
WRONG_JSON = """\
{"modle": "ssd300_vgg16",
 "num_classes": "4",
 "losses": {
\t"roi_heads": [{"name": "power", "pwoer": 3, "weight": -2},
                {"name": "pwer"}],
  "rio_heads": "power"}}
"""
# Counted by hand in the texts above: key of what is unknown, value of what is wrong, the mapping that lacks a key.
# In JSON the tab is one character.
WRONG = {
    "m.yaml": [(1, 1, ""), (1, 1, ""), (2, 14, ""), (5, 21, ""), (5, 39, ""), (6, 13, ""), (7, 3, "")],
    "m.toml": [(1, 1, ""), (1, 1, ""), (2, 15, ""), (5, 1, ""), (6, 10, ""), (8, 8, ""), (9, 9, "")],
    "m.json": [(1, 1, ""), (1, 2, ""), (2, 17, ""), (4, 34, ""), (4, 56, ""), (5, 26, ""), (6, 3, "")],
}
KEYS = {
    "model",
    "modle",
    "num_classes",
    "losses.roi_heads.0.pwoer",
    "losses.roi_heads.0.weight",
    "losses.roi_heads.1.name",
    "losses.rio_heads",
}


@pytest.mark.parametrize(
    ("name", "text"), [("m.yaml", WRONG_YAML), ("m.toml", WRONG_TOML), ("m.json", WRONG_JSON)], ids=list(WRONG)
)
def test_row_22_every_error_has_its_place(write: Write, name: str, text: str) -> None:
    """One error lists all findings of both steps, each with file, line, column, key path and the near key."""
    file = write(text, name)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    noted = findings_of(caught.value)
    assert [(each.line, each.column) for each in noted] == [(line, column) for line, column, _ in WRONG[name]]
    assert {each.key for each in noted} == KEYS
    assert {each.file for each in noted} == {str(file)}
    near = {each.key: each.near for each in noted if each.near}
    assert near == {
        "modle": "model",
        "losses.roi_heads.0.pwoer": "power",
        "losses.roi_heads.1.name": "power",
        "losses.rio_heads": "roi_heads",
    }
    message = str(caught.value)
    assert message.startswith(f"7 errors in {file}:\n")
    assert f"  {file}:2:{WRONG[name][2][1]}: num_classes: should be a valid integer, found '4'" in message


def test_error_is_pickled_with_findings(write: Write) -> None:
    """A config error crosses a process border with its message and its findings."""
    with pytest.raises(ConfigError) as caught:
        load_config(write("model: 3\n"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert findings_of(again) == findings_of(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "line", "column", "message"),
    [
        ("m.yaml", "model: x\nlosses: {roi_heads: [a\n", 3, 1, "flow sequence"),
        ("m.yaml", "model: x\n\tlosses: 1\n", 2, 1, "tab|token|'\\\\t'"),
        ("m.yaml", "model: !!python/object/apply:os.system ['true']\n", 1, 8, "tag"),
        ("m.yaml", "model: !x 3\n", 1, 8, "tag"),
        ("m.yaml", "model: *nowhere\n", 1, 8, "alias"),
        ("m.yaml", "model: x\n---\nmodel: y\n", 2, 1, "document"),
        ("m.yaml", "model: a\x07b\n", 1, 9, "U\\+0007"),
        ("m.yaml", b"model: x\nweights: \xff\n", 2, 10, "UTF-8"),
        ("m.yaml", "a: " + "[" * 5000, 1, 36, "deep"),
        ("m.yaml", "a: &a [*a]\n", 1, 4, "deep"),
        ("m.json", '{"model": "x",\n "losses": }', 2, 12, "Expecting value"),
        ("m.json", "[" * 100_000, None, None, "deep"),
        ("m.toml", 'model = "x"\nlosses = \n', 2, 10, "Invalid value"),
        ("m.toml", "a = " + "[" * 100_000, None, None, "deep"),
        ("m.toml", "a = 1\na = 2\n", 2, 6, "overwrite"),
        ("m.ini", "model = 1", None, None, r"\.yaml, \.yml, \.toml, \.json"),
        ("m.yaml", " " * (MAX_BYTES + 1), None, None, "bytes"),
    ],
)
def test_row_21_malformed(  # noqa: PLR0917 - columns of the table
    write: Write, name: str, text: Any, line: int | None, column: int | None, message: str
) -> None:
    """What cannot be read is refused at its line and column, with a reason."""
    file = write(text, name)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file)
    (finding,) = findings_of(caught.value)
    assert (finding.file, finding.line, finding.column) == (str(file), line, column)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a config error with its name."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(("text", "message"), [("", "model: is missing"), ("- a\n", "mapping"), ("3\n", "mapping")])
def test_no_mapping(write: Write, text: str, message: str) -> None:
    """An empty file lacks its keys, and a list or a number is no config."""
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_row_21_alias_bomb(write: Write) -> None:
    """Aliases may be used, but not to multiply: ten levels of ten are refused before they are built."""
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(ConfigError, match="more than 10000 values"):
        load_config(write(f"l0: &l0 [{', '.join('0' * 10)}]\n{levels}"))
    shared = "model: x\nlosses: {roi_heads: &loss {name: power, power: 3}, rpn: *loss}\n"
    config = load_config(write(shared))
    assert config.losses["rpn"] == config.losses["roi_heads"]


def test_row_21_duplicate_keys(write: Write) -> None:
    """A key that stands twice is refused, in YAML with the line of the first and beside all other errors."""
    yaml_file = write("model: x\nlosses: {}\nmodel: y\nlosses: 3\nnum_classes: 0\n")
    assert places(yaml_file) == [(3, 1, "model"), (4, 1, "losses"), (5, 14, "num_classes")]
    assert "stands at line 1 already" in findings(yaml_file)[0].message
    assert places(write('{"model": "x",\n "model": "y"}', "m.json")) == [(2, 2, "model")]


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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.yaml", f"model: x\noptions: {{a: [{', '.join('0' * 30_000)}]}}"),
        ("m.toml", f"model = 'x'\noptions.a = [{', '.join('0' * 30_000)}]"),
        ("m.json", f'{{"model": "x", "options": {{"a": [{", ".join("0" * 30_000)}]}}}}'),
    ],
)
def test_row_21_too_many_values(write: Write, name: str, text: str) -> None:
    """A file of more than 10000 values is refused in every format."""
    with pytest.raises(ConfigError, match="more than 10000 values"):
        load_config(write(text, name))


@pytest.mark.parametrize("suffix", ["yaml", "toml", "json"])
def test_row_21_too_deep(write: Write, suffix: str) -> None:
    """A file nested deeper than 32 levels is refused in every format, at a place in it."""
    nested = "[" * 40 + "]" * 40
    text = {
        "yaml": f"model: x\noptions: {{a: {nested}}}",
        "toml": f"model = 'x'\noptions.a = {nested}",
        "json": f'{{"model": "x",\n "options": {{"a": {nested}}}}}',
    }
    (finding,) = findings(write(text[suffix], f"m.{suffix}"))
    assert finding.message == "nested deeper than 32 levels"
    # Thirty-two levels after the key at most: the line is the second one, within it.
    assert finding.line == 2
    assert 12 < (finding.column or 0) < 64


@pytest.mark.parametrize(
    "text", ["a" + ".a" * 2000 + " = 1", "[" + "'a' . " * 2000 + "a]", "x = {" + '"a".' * 2000 + "a = 1}"]
)
def test_row_21_a_key_of_thousands_of_parts(write: Write, text: str) -> None:
    """A TOML key of thousands of parts, which tomllib stores once for each of them, is refused before it is read."""
    with pytest.raises(ConfigError, match="a key has more than 32 parts"):
        load_config(write(text, "m.toml"))


def test_row_21_many_paths_down_below(write: Write) -> None:
    """Many values far below, whose paths would fill the memory, are refused with the place of the first."""
    text = '{"model": "x",\n"a": ' + '{"a": ' * 100 + "[" + ", ".join("0" * 1000) + "]" + "}" * 100 + "}"
    (finding,) = findings(write(text, "m.json"))
    # "a" is level 1 and its value begins in column 6; each level below takes 6 more: level 33 is at 6 + 32 * 6.
    assert (finding.line, finding.column, finding.message) == (2, 198, "nested deeper than 32 levels")
    with pytest.raises(TooDeepError):
        scan_json(text)
    with pytest.raises(TooDeepError):
        scan_toml("a = " + "[" * 40 + "]" * 40)


def test_row_21_merge_keys(write: Write) -> None:
    """A YAML merge key is refused rather than dropped."""
    (finding,) = findings(write("model: x\nlosses:\n  roi_heads: {name: power, <<: {power: 3}}\n"))
    assert (finding.line, finding.column) == (3, 28)
    assert "write the keys out" in finding.message


@pytest.mark.parametrize(
    ("written", "hint"),
    [("1e-3", "1.0e-3"), ("1E5", "1.0e+5"), ("2.5e3", "2.5e+3"), ("-1e-2", "-1.0e-2"), ("+3e+2", "+3.0e+2")],
)
def test_row_21_exponents(write: Write, written: str, hint: str) -> None:
    """A number that YAML reads as text is refused with the way to write it, which YAML then reads as that number."""
    file = write(f"model: x\nlosses: {{roi_heads: {{name: power, power: {written}}}}}\n")
    (finding,) = findings(file)
    assert finding.message.endswith(f"YAML reads {written} as text; write {hint}")
    assert yaml.safe_load(hint) == float(written)


def test_number_hint_is_for_numbers() -> None:
    """Words with an e, and numbers themselves, get no hint."""
    assert [number_hint(value) for value in ("e", "giou", "1e", "e5", "1-3", 0.001, None, "1e-3 ")] == [None] * 8


def test_row_21_booleans_for_numbers(write: Write) -> None:
    """`on` where a number is expected is shown as YAML reads it and as it was written."""
    (finding,) = findings(write("model: x\nlosses: {rpn: {name: power, weight: on}}\n"))
    assert finding.message == "should be a valid number, found true; YAML reads on as true"


def test_row_21_booleans(write: Write) -> None:
    """`on`, `yes` and `no` where text is expected are refused with the quotes to write, as value and as key."""
    file = write("model: on\nlosses: {roi_heads: {name: no}, rpn: yes}\noff: 1\n")
    messages = {each.key: each.message for each in findings(file)}
    assert messages["model"] == 'should be a valid string, found true; YAML reads on as true; write "on" in quotes'
    assert messages["losses.roi_heads.name"].endswith('YAML reads no as false; write "no" in quotes')
    assert messages["losses.rpn"].endswith('YAML reads yes as true; write "yes" in quotes')
    assert any(each.message == 'YAML reads the key off as bool; write "off" in quotes' for each in findings(file))


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1:30", "; YAML reads a number with : in base 60; write it as one decimal number"),
        ("010", "; YAML reads a number that begins with 0 as octal; write 10"),
        ("-0_07", "; YAML reads a number that begins with 0 as octal; write -7"),
        ("0x", ""),
        ("2020-01-01", ""),
    ],
)
def test_row_21_numbers_that_only_yaml_sees(write: Write, written: str, hint: str) -> None:
    """Sexagesimal, octal and dates do not become another number silently: they are refused with the way to write it."""
    (finding,) = findings(write(f"model: x\nnum_classes: {written}\n"))
    assert finding.message == f"should be a valid integer, found '{written}'{hint}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.yaml", "model: x\nnum_classes: '4'\n"),
        ("m.toml", 'model = "x"\nnum_classes = "4"\n'),
        ("m.json", '{"model": "x", "num_classes": "1e1"}'),
    ],
)
def test_row_21_numbers_in_quotes(write: Write, name: str, text: str) -> None:
    """A number in quotes is text in every format, and the error says to take them off."""
    (finding,) = findings(write(text, name))
    assert finding.message.endswith("; write the number without quotes")


def test_row_21_numbers_with_underscores(write: Write) -> None:
    """1_000 is one thousand in YAML as it is in TOML, and no text."""
    for name, text in (("m.yaml", "model: x\nnum_classes: 1_000\n"), ("m.toml", "model = 'x'\nnum_classes = 1_000\n")):
        assert load_config(write(text, name)).num_classes == 1000
    assert findings(write("model: x\nlosses: {rpn: {name: power, power: 1_0e3}}\n"))[0].message.endswith("1_0.0e+3")
    assert yaml.safe_load("1_0.0e+3") == 10_000.0


def test_row_21_huge_integer(write: Write) -> None:
    """An integer of thousands of digits is a config error."""
    digits = "9" * 6000
    for name, text in (
        ("m.yaml", f"model: {digits}"),
        ("m.json", f'{{"model": {digits}}}'),
        ("m.toml", f"m = {digits}"),
    ):
        with pytest.raises(ConfigError):
            load_config(write(text, name))


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_are_finite(write: Write, number: str) -> None:
    """NaN and infinity are refused once each, also where any value is allowed."""
    file = write(f"model: x\noptions: {{a: {number}}}\nlosses: {{roi_heads: {{name: power, power: {number}}}}}\n")
    assert places(file) == [(2, 14, "options.a"), (3, 42, "losses.roi_heads.power")]


def test_row_22_secrets_are_not_shown(write: Write) -> None:
    """The value of a key that may name a secret is not in the message; other values are, shortened and escaped."""
    file = write("model: x\nlosses: {roi_heads: {name: power, api_token: hunter2}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert "hunter2" not in str(caught.value)
    assert "a str (not shown, it may be a secret)" in str(caught.value)
    assert found(("weight",), "a\x1b[31m" + "b" * 100) == repr("a\x1b[31m" + "b" * 100)[:60] + "..."


@pytest.mark.parametrize(
    "value",
    [
        "https://me:hunter2@example.org/weights",
        "hf_hunter2hunter2",
        "ghp_hunter2hunter2",
        "sk-hunter2hunter2",
        "-----BEGIN hunter2 KEY-----",
    ],
)
def test_row_22_what_looks_like_a_secret_is_not_shown(value: str) -> None:
    """A value that looks like a password in a URL or an issued key is not in the message, whatever its key."""
    with pytest.raises(ConfigError) as caught:
        load_config({"model": "x", "num_classes": value, "losses": {"rpn": {"name": "power", "power": value}}})
    assert "hunter2" not in str(caught.value)
    assert len(findings_of(caught.value)) == 2


@pytest.mark.parametrize("value", ["*hunter2", "&hunter2 x", "!hunter2 x", "!hunter2!x y", "!!hunter2 x", "2e9"])
def test_row_22_a_password_that_is_yaml_syntax_is_not_shown(write: Write, value: str) -> None:
    """A password that YAML takes for an alias, an anchor, a tag or a number is not in the message."""
    text = f"model: &hunter2 x\nlosses: {{roi_heads: {{name: power, api_token: {value}}}}}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write(text if value[0] == "&" else text.replace("&hunter2 ", "")))
    (finding,) = findings_of(caught.value)
    assert finding.line == 2
    assert "hunter2" not in str(caught.value)
    assert "2e9" not in str(caught.value)


def test_row_22_thousands_of_errors_are_cut(write: Write) -> None:
    """Of thousands of errors a message lists a hundred, and says how many more it knows of."""
    wrong = "".join(f"key{i}: 1\n" for i in range(3000))
    with pytest.raises(ConfigError, match="and at least 2901 more") as caught:
        load_config(write(wrong + "losses: {rpn: [" + "pwer, " * 3000 + "]}\n"))
    assert len(str(caught.value).splitlines()) == 102
    # The 3000 unknown keys and the missing model; after as many no loss is looked up.
    assert len(findings_of(caught.value)) == 3001


def test_row_06_head_name_taken_in_a_config(packages: Any, write: Write) -> None:
    """A config for a head whose name two packages claim is refused with both named; `package:name` is valid."""
    packages.add("taker", entry_points="[detloss.heads]\nroi_heads = m:C\n")
    (finding,) = findings(write("model: x\nlosses: {roi_heads: power}\n"))
    assert (finding.line, finding.column, finding.key) == (2, 10, "losses.roi_heads")
    assert "'roi_heads' is claimed by detloss 0.1.0" in finding.message
    assert "and taker 1.0" in finding.message
    assert list(load_config(write("model: x\nlosses: {'detloss:roi_heads': power}\n")).losses) == ["detloss:roi_heads"]


@pytest.mark.parametrize("name", ["os.system", "os:system", "../x", "torch.nn.L1Loss", "x" * 10_000, "a\x1b[31m"])
def test_row_20_import_path_in_a_config(write: Write, name: str) -> None:
    """A config never imports what its name spells: an import path is refused with a short, printable message."""
    (finding,) = findings(write(json.dumps({"model": "x", "losses": {"rpn": {"name": name}}}), "m.json"))
    assert finding.key == "losses.rpn.name"
    assert "cannot be the name of a loss" in finding.message or "There is no loss 'os:system'" in finding.message
    assert finding.message.isprintable()
    assert len(finding.message) < 400


def test_row_22_nested_losses(write: Write) -> None:
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
    assert "not to a loss within a loss" in noted["losses.roi_heads.more.2.weight"].message


def test_nested_default_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that holds a missing loss by default is refused, and so is one that holds itself without end."""
    monkeypatch.setattr(registry, "_registered", {})
    register(AroundLoss)
    with pytest.raises(ConfigError, match=r"inner: There is no loss 'power'|inner\.name: There is no loss 'power'"):
        build_loss("around")
    register(AroundLoss, name="power")
    with pytest.raises(ConfigError, match="losses within losses"):
        build_loss("around")


def test_lists_stand_for_tuples() -> None:
    """A strict tuple parameter takes the list that a file can write, and nothing is converted beyond that."""
    assert build_loss({"name": "power", "bounds": [0, 2]}).config.bounds == (0.0, 2.0)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"bounds\.1: should be a valid number, found '2'"):
        build_loss({"name": "power", "bounds": [0, "2"]})


def test_build_loss() -> None:
    """A name, a mapping and a spec give the loss with its parameters; the envelope is checked and left to the head."""
    for spec in (
        {"name": "power", "power": 3, "weight": 2},
        LossSpec(name="power", power=3, normalizer="positives"),
        NestedSpec(name="power", power=3),
    ):
        loss = build_loss(spec)
        assert isinstance(loss, PowerLoss)
        assert loss.config.power == 3
    assert isinstance(build_loss("power"), PowerLoss)
    assert check_spec("power").config == PowerLoss.Config()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "power", "pwoer": 3}, "pwoer: unknown key; did you mean 'power'"),
        ({"name": "power", "power": -3}, "power: should be greater than 0, found -3"),
        ({"name": "power", "weight": "2"}, "weight: should be a valid number"),
        ({"name": "power", "normalizer": "stok"}, "normalizer: .*did you mean 'stock'"),
        ({"power": 3}, "name: is missing"),
        ({"name": "power", "power": object()}, "power: a config holds plain data"),
        (3, "a loss is a name or a mapping"),
    ],
)
def test_build_loss_refuses(spec: Any, message: str) -> None:
    """A wrong spec is a config error that names the key."""
    with pytest.raises(ConfigError, match=message):
        build_loss(spec)


def test_build_loss_with_unknown_name() -> None:
    """An unknown name is the registry's own error, with near names."""
    with pytest.raises(UnknownPluginError, match="'power'"):
        build_loss("pwer")


def test_row_22_broken_plugin_is_a_finding(packages: Any, write: Write) -> None:
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


def test_row_20_what_a_validator_says_is_escaped(packages: Any, write: Write) -> None:
    """The words of a plugin's validator, with the config's value in them, cannot steer the terminal."""
    packages.add("speak", losses={"speaking": "speak_m:SpeakingLoss"}, modules={"speak_m.py": SPEAKING_VALIDATOR})
    file = write('{"model": "x", "losses": {"rpn": {"name": "speaking", "mode": "\\u001b[2J"}}}', "m.json")
    assert [(each.key, each.message) for each in findings(file)] == [("losses.rpn.mode", "no mode \\x1b[2J")]


def test_row_24_a_broken_schema_breaks_no_other_config(packages: Any, write: Write) -> None:
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


def test_overrides(write: Write) -> None:
    """An override replaces or adds a value, makes the mappings on its way, and opens a loss given by name alone."""
    config = load_config(
        write(YAML),
        overrides=[
            "num_classes=7",
            "losses.roi_heads.0.power=1.5",
            "losses.roi_heads.1=power",
            "losses.rpn.name=power",
            "options={detections_per_img: 5}",
            "weights_backbone=null",
        ],
    )
    assert config.num_classes == 7
    assert config.losses["roi_heads"] == (LossSpec(name="power", power=1.5), LossSpec(name="power"))
    assert config.losses["rpn"] == (LossSpec(name="power"),)
    assert config.options == {"detections_per_img": 5}


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("num_classes", "", "an override is key.path=value"),
        ("a..b=1", "a..b", "an override is key.path=value"),
        ("num_clases=4", "num_clases", "did you mean 'num_classes'"),
        ("num_classes=four", "num_classes", "found 'four'"),
        ("losses.roi_heads.2.power=1", "losses.roi_heads.2.power", "has no item '2'"),
        ("losses.roi_heads.1.pwoer=1", "losses.roi_heads.1.pwoer", "did you mean 'power'"),
        ("losses.roi_heads.1.power=1e-3", "losses.roi_heads.1.power", "write 1.0e-3"),
        ("model.x=1", "model.x", "has no keys"),
        ("options={a: 1, a: 2}", "options", "already"),
        ("options={", "options", "flow node"),
        ("options=!!x 3", "options", "tag"),
    ],
)
def test_wrong_override(write: Write, override: str, key: str, message: str) -> None:
    """An error in an override names its key and not a line of the file."""
    (finding,) = findings(write(YAML), overrides=[override])
    assert (finding.key, finding.line, finding.override) == (key, None, True)
    assert message in finding.message
    assert str(finding).startswith("override: ")


def test_train_config(write: Write) -> None:
    """One file is read as a train config, with places in its sections, and as a model config, which ignores them."""
    text = YAML + "data:\n  shapes: {train: 10, val: 4}\ntrain:\n  epochs: 3\n  milestones: [0.5]\n"
    config = load_config(write(text), TrainConfig)
    assert (config.train.epochs, config.train.milestones, config.num_classes) == (3, [0.5], 4)
    assert type(load_config(write(text), overrides=["train.epochs=0"])) is ModelConfig
    assert type(load_config(config, overrides=["num_classes=5"])) is ModelConfig
    wrong = text.replace("epochs: 3", "epocs: 3").replace("[0.5]", "[0.5, 2]").replace("train: 10", "train: 0")
    assert places(write(wrong), schema=TrainConfig) == [
        (9, 19, "data.shapes.train"),
        (11, 3, "train.epocs"),
        (12, 21, "train.milestones.1"),
    ]
    assert findings(write(wrong), schema=TrainConfig)[1].near == "epochs"


def test_weights_beside_the_file(write: Write, tmp_path: Path) -> None:
    """A path to weights in a file is relative to the file; in an override or a mapping it stays as it is."""
    file = write("model: x\nweights: ../a.pth\nweights_backbone: DEFAULT\n")
    config = load_config(file)
    assert config.weights == str((tmp_path.parent / "a.pth").resolve())
    assert config.weights_backbone == "DEFAULT"
    assert load_config(file, overrides=["weights=b/a.pth"]).weights == "b/a.pth"
    assert load_config({"model": "x", "weights": Path("b/a.pth")}).weights == "b/a.pth"


def test_is_path() -> None:
    """A suffix of weights or a folder makes a path; torchvision's names have neither."""
    assert [is_path(text) for text in ("a.pth", "a/b", "x.PT", "DEFAULT", "SSD300_VGG16_Weights.COCO_V1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_mapping_is_not_changed() -> None:
    """Overrides and defaults leave the caller's mapping as it was."""
    source = {"model": "x", "losses": {"roi_heads": ["power"]}}
    load_config(source, overrides=["losses.roi_heads.0.power=3", "options.a=1"])
    assert source == {"model": "x", "losses": {"roi_heads": ["power"]}}


def test_python_objects_are_refused() -> None:
    """What a file could not hold is refused in a mapping as well, with the way out."""
    (finding,) = findings({"model": "x", "options": {"norm_layer": object}})
    assert finding.key == "options.norm_layer"
    assert "detloss.inject" in finding.message


Plain = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def at(data: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        data = data[step]
    return data


def paths(data: Any) -> Iterator[tuple[str | int, ...]]:
    yield ()
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield from ((key, *rest) for rest in paths(value))


@given(st.dictionaries(st.text(), Plain, max_size=4), st.sampled_from([None, 1, "\t"]))
def test_every_json_value_is_found(data: Any, indent: Any) -> None:
    """Every key and value of any JSON text has a place, and parsing at that place gives the value."""
    text = json.dumps(data, indent=indent)
    scanned = scan_json(text)
    assert set(scanned.values) == set(paths(data))
    decoder = json.JSONDecoder()
    for path, offset in scanned.values.items():
        assert decoder.raw_decode(text, offset)[0] == at(data, path)
        if path and isinstance(path[-1], str):
            assert decoder.raw_decode(text, scanned.keys[path])[0] == path[-1]


TOML_TEXT = r'''
# a comment with = and "quotes" [here]
model = "a\"b # no comment"
"quoted key" = 'literal \'
bare.dotted."k" = [1, 2, [3, "x]"], # }
  {a = 1, b.c = """multi
line ] " ""\"""" }]
date = 1979-05-27T07:32:00Z
text = """
five quotes"""""
raw = \'\'\'x = [\'\'\'
[losses]
rpn = {name = "p"}
[[losses.roi_heads]]
name = "one"
[losses.roi_heads.sub]
x = 1
[[losses.roi_heads]]
name = "two"
[[losses.roi_heads.deep]]
y = -1.5e3
[a . "b"]
c = {}
'''.replace(r"\'\'\'", "'''")


def test_every_toml_value_is_found() -> None:
    """Every key and value of a TOML text with all its kinds of strings, tables and arrays has a place."""
    scanned = scan_toml(TOML_TEXT)
    data = tomllib.loads(TOML_TEXT)
    assert set(scanned.values) == set(paths(data))
    starts = {
        ("model",): '"a\\"b',
        ("bare", "dotted", "k"): "[1, 2",
        ("bare", "dotted", "k", 2, 1): '"x]"',
        ("bare", "dotted", "k", 3): "{a =",
        ("bare", "dotted", "k", 3, "b", "c"): '"""multi',
        ("text",): '"""\nfive',
        ("losses", "rpn", "name"): '"p"',
        ("losses", "roi_heads", 0, "sub", "x"): "1\n",
        ("losses", "roi_heads", 1, "name"): '"two"',
        ("losses", "roi_heads", 1, "deep", 0, "y"): "-1.5e3",
        ("a", "b", "c"): "{}",
    }
    for path, start in starts.items():
        assert TOML_TEXT.startswith(start, scanned.values[path]), path
    assert scanned.repeated == []


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), Plain, max_size=3))
def test_yaml_is_read_as_pyyaml_reads_it(data: Any) -> None:
    """What PyYAML writes is read as the same data, and every value has a place."""
    from detloss.locate import Document, read_yaml

    document = Document(None)
    read_yaml(yaml.safe_dump(data), document)
    assert document.data == data
    assert set(document.values) == set(paths(data))
    assert document.findings == []


def test_read_document_keeps_places(write: Write) -> None:
    """A document says where each key and each value stands."""
    document = read_document(write("a: 1\nb:\n  c: [x, y]\n"))
    assert document.data == {"a": 1, "b": {"c": ["x", "y"]}}
    assert document.keys[("b", "c")] == (3, 3)
    assert document.values[("b", "c")] == (3, 6)
    assert document.values[("b", "c", 1)] == (3, 10)
