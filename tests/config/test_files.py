"""Reading YAML, TOML and JSON: places, bounds, and what a number or a word was meant to be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from plain_data import PLAIN, paths
from power_losses import findings, places

from detloss import ConfigError, load_config
from detloss.config.files import MAX_BYTES, read_document

LONG = "k" * 2000
"""A key that JSON reads and YAML, whose implicit keys have at most 1024 characters, does not."""

PYTHON_13 = sys.version_info >= (3, 13)

pytestmark = pytest.mark.usefixtures("power_losses")


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
        ("m.yaml", "\ufeffé: ".encode() + b"\xff", 1, 4, "byte 0xff"),  # the mark is no character of the text
        ("m.yaml", "model: x\nlosses: 'y\n\nz: 1\n", 5, 1, r"quoted scalar \(line 2\); found unexpected end"),
        (
            "m.yaml",
            "model: x: y\n",
            1,
            9,
            "not allowed here. Fix: put text with `: ` in it in quotes, or fix",
        ),
        ("m.yaml", "model: @x\n", 1, 8, "cannot start any token. Fix: put text that begins with it in quotes"),
        ("m.yaml", "model:\tx\n", 1, 7, "cannot start any token. Fix: use spaces, not a tab"),
        ("m.yaml", "a: " + "[" * 5000, 1, 36, "deep"),
        ("m.yaml", "a: &a [*a]\n", 1, 4, "deep"),
        ("m.json", '{"model": "x",\n "losses": }', 2, 12, "Expecting value"),
        ("m.json", '{\n // x\n "model": "x"}', 2, 2, "Fix: remove the comment"),
        ("m.json", '{"model": "x" # y\n}', 1, 15, "Fix: remove the comment"),
        # Python 3.13 points at the comma itself.
        ("m.json", '{"model": "x",\n}', *((1, 14) if PYTHON_13 else (2, 1)), "Fix: remove the comma after"),
        ("m.json", '{"model": ["x", ]}', 1, 15 if PYTHON_13 else 17, "Fix: remove the comma after"),
        ("m.json", "{'model': 'x'}", 1, 2, "Fix: put text in double quotes"),
        ("m.json", '{"model": "a\nb"}', 1, 13, "Invalid control character here"),
        ("m.json", "[" * 100_000, None, None, "deep"),
        ("m.toml", 'model = "x"\nlosses = \n', 2, 10, "Invalid value"),
        ("m.toml", "model = x\n", 1, 9, "Invalid value. Fix: put text in quotes"),
        ("m.toml", "[losses.rpn]\n[losses.rpn]\n", 2, 12, "Cannot declare losses.rpn twice"),
        ("m.toml", '["\\u001b[2J"]\n["\\u001b[2J"]\n', 2, 13, r"Cannot declare \\x1b\[2J twice"),
        ("m.toml", "a = " + "[" * 100_000, None, None, "deep"),
        ("m.toml", "a = 1\na = 2\n", 2, 6, "overwrite"),
        ("m.ini", "model = 1", None, None, r"\.yaml, \.yml, \.toml, \.json"),
        ("m.yaml", " " * (MAX_BYTES + 1), None, None, "bytes"),
    ],
)
def test_row_21_malformed(  # noqa: PLR0917 - columns of the table
    write: Callable[..., Path], name: str, text: Any, line: int | None, column: int | None, message: str
) -> None:
    """What cannot be read is refused at its line and column, with a reason."""
    file = write(text, name)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file)
    (finding,) = caught.value.findings
    assert (finding.file, finding.line, finding.column) == (str(file), line, column)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a config error with its name."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is a pipe or a device, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device, not a file"),
        (Path.mkdir, "is a folder, not a file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["pipe", "device", "folder", "link to itself"],
)
@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_row_45_no_file_is_read(tmp_path: Path, make: Callable[[Path], object], message: str, suffix: str) -> None:
    """What is no file is named for what it is, and nothing waits for its other end."""
    path = tmp_path / f"m{suffix}"
    make(path)
    with ThreadPoolExecutor() as pool:  # a read that hangs would hang in its own thread
        raised = pool.submit(pytest.raises, ConfigError, load_config, path)
        try:
            assert message in str(raised.result(timeout=10).value)
        except TimeoutError:
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
            raise


def test_row_45_nul_in_the_name_of_a_file() -> None:
    """A path with a NUL names no file."""
    with pytest.raises(ConfigError, match=r"a\\x00\.yaml: cannot be read: .*embedded null"):
        load_config("a\0.yaml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", '{"options": %s1%s}' % ('{"a":' * 20_000, "}" * 20_000)),  # noqa: UP031 - braces
        ("m.json", "[" * 100_000),
        ("m.toml", "a = " + "[" * 100_000),
    ],
    ids=["mappings", "lists", "toml"],
)
def test_row_45_nested_deeper_than_a_parser_goes(write: Callable[..., Path], name: str, text: str) -> None:
    """Nesting that no parser follows is a config error."""
    with pytest.raises(ConfigError, match="nested too deeply; a config has at most 32 levels"):
        load_config(write(text, name))


def test_row_21_alias_bomb(write: Callable[..., Path]) -> None:
    """Aliases may be used, but not to multiply: ten levels of ten are refused before they are built."""
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(ConfigError, match="more than 10000 values"):
        load_config(write(f"l0: &l0 [{', '.join('0' * 10)}]\n{levels}"))
    shared = "model: x\nlosses: {roi_heads: &loss {name: power, power: 3}, rpn: *loss}\n"
    config = load_config(write(shared))
    assert config.losses["rpn"] == config.losses["roi_heads"]


def test_row_21_duplicate_keys(write: Callable[..., Path]) -> None:
    """A key that stands twice is refused, in YAML with the line of the first and beside all other errors."""
    yaml_file = write("model: x\nlosses: {}\nmodel: y\nlosses: 3\nnum_classes: 0\n")
    assert places(yaml_file) == [(3, 1, "model"), (4, 1, "losses"), (5, 14, "num_classes")]
    assert "is already at line 1" in findings(yaml_file)[0].message
    assert places(write('{"model": "x",\n "model": "y"}', "m.json")) == [(2, 2, "model")]
    far = findings(write(f'{{"model": "x",\n "model": "y", "options": {{"{LONG}": 1}}}}', "m.json"))
    assert [each.message for each in far] == ["the key 'model' appears twice in one mapping. Fix: remove one"]


def test_places_in_json(write: Callable[..., Path]) -> None:
    """Every value of JSON text has its place where YAML reads the text too; else the key path is there."""
    assert places(write('{"model": "x",\n\t"num_classes": "y"}', "m.json")) == [(2, 17, "num_classes")]
    file = write(f'{{"model": "x",\n "num_classes": "y", "options": {{"{LONG}": 1}}}}', "m.json")
    assert places(file) == [(1, 1, "num_classes")]


def test_places_in_toml(write: Callable[..., Path]) -> None:
    """What is wrong with a value in TOML has the key path, and no line that would be a guess."""
    assert places(write("model = 'x'\nnum_classes = 'y'\n", "m.toml")) == [(None, None, "num_classes")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.yaml", f"model: x\noptions: {{a: [{', '.join('0' * 30_000)}]}}"),
        ("m.toml", f"model = 'x'\noptions.a = [{', '.join('0' * 30_000)}]"),
        ("m.json", f'{{"model": "x", "options": {{"a": [{", ".join("0" * 30_000)}]}}}}'),
    ],
)
def test_row_21_too_many_values(write: Callable[..., Path], name: str, text: str) -> None:
    """A file of more than 10000 values is refused in every format."""
    with pytest.raises(ConfigError, match="more than 10000 values"):
        load_config(write(text, name))


@pytest.mark.parametrize("suffix", ["yaml", "toml", "json"])
def test_row_21_too_deep(write: Callable[..., Path], suffix: str) -> None:
    """A file nested deeper than 32 levels is refused in every format, in YAML and JSON at a place in it."""
    nested = "[" * 40 + "]" * 40
    text = {
        "yaml": f"model: x\noptions: {{a: {nested}}}",
        "toml": f"model = 'x'\noptions.a = {nested}",
        "json": f'{{"model": "x",\n "options": {{"a": {nested}}}}}',
    }
    (finding,) = findings(write(text[suffix], f"m.{suffix}"))
    assert finding.message == "nested deeper than 32 levels"
    if suffix == "toml":
        assert finding.key.startswith("options.a.0.0")
        return
    # Thirty-two levels after the key at most: the line is the second one, within it.
    assert finding.line == 2
    assert 12 < (finding.column or 0) < 64


@pytest.mark.parametrize(
    "text", ["a" + ".a" * 2000 + " = 1", "[" + "'a' . " * 2000 + "a]", "x = {" + '"a".' * 2000 + "a = 1}"]
)
def test_row_21_a_key_of_thousands_of_parts(write: Callable[..., Path], text: str) -> None:
    """A TOML key of thousands of parts, which tomllib stores once for each of them, is refused before it is read."""
    with pytest.raises(ConfigError, match="a key has more than 32 parts"):
        load_config(write(text, "m.toml"))


def test_row_21_merge_keys(write: Callable[..., Path]) -> None:
    """A YAML merge key is refused rather than dropped."""
    (finding,) = findings(write("model: x\nlosses:\n  roi_heads: {name: power, <<: {power: 3}}\n"))
    assert (finding.line, finding.column) == (3, 28)
    assert "write the keys out" in finding.message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("-1e-2", -0.01),
        ("+3e+2", 300.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("010", 10),
        ("-07", -7),
        ("0o10", 8),
        ("0x1F", 31),
        ("True", True),
        ("FALSE", False),
        ("~", None),
    ],
)
def test_row_21_numbers_as_people_mean_them(write: Callable[..., Path], written: str, value: object) -> None:
    """Numbers, true, false and null are those of YAML 1.2's core schema, in a file and in an override."""
    data = read_document(write(f"x: {written}\n")).data
    assert (data["x"], type(data["x"])) == (value, type(value))


@pytest.mark.parametrize("written", ["on", "off", "yes", "No", "y", "1:30", "1_000", "2020-01-01", "0x", "e5", "="])
def test_row_21_text_stays_text(write: Callable[..., Path], written: str) -> None:
    """What YAML 1.1 took for booleans, base 60, dates and numbers with underscores is text, as key and as value."""
    assert read_document(write(f"x: {written}\n{written}: 1\n")).data == {"x": written, written: 1}


def test_row_21_a_number_in_a_spec(write: Callable[..., Path]) -> None:
    """A parameter written as `1e-3` is that number, in the file and on the command line."""
    file = write("model: x\nlosses: {rpn: {name: power, power: 2e0}}\n")
    assert load_config(file).losses["rpn"][0].params == {"power": 2.0}
    assert load_config(file, overrides=["losses.rpn.power=3e0"]).losses["rpn"][0].params == {"power": 3.0}


@pytest.mark.parametrize(("written", "advice"), [("yes", "true"), ("On", "true"), ("no", "false"), ("off", "false")])
def test_row_21_a_boolean_is_written_true_or_false(write: Callable[..., Path], written: str, advice: str) -> None:
    """Where true or false is expected, the error of `yes` and `off` says what to write."""
    (finding,) = findings(write(f"model: x\nlosses: {{rpn: {{name: power, compile: {written}}}}}\n"))
    assert finding.message == f"should be true or false, found '{written}'. Fix: write {advice}"


def test_row_21_a_number_that_is_text(write: Callable[..., Path]) -> None:
    """Where a number is expected, text is refused, with a hint for `1_000` and none for base 60."""
    file = write("model: x\nnum_classes: 1:30\nlosses: {rpn: {name: power, power: 1_0e3}}\n")
    first, second = findings(file)
    assert first.message == "should be a valid integer, found '1:30'"
    assert second.message == "should be a valid number, found '1_0e3'. Fix: write the number without underscores"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.yaml", "model: x\nnum_classes: '4'\n"),
        ("m.toml", 'model = "x"\nnum_classes = "4"\n'),
        ("m.json", '{"model": "x", "num_classes": "1e1"}'),
    ],
)
def test_row_21_numbers_in_quotes(write: Callable[..., Path], name: str, text: str) -> None:
    """A number in quotes is text in every format, and the error says to take them off."""
    (finding,) = findings(write(text, name))
    assert finding.message.endswith(". Fix: write the number without quotes")


def test_row_21_huge_integer(write: Callable[..., Path]) -> None:
    """An integer of thousands of digits is a config error at its place."""
    digits = "9" * 6000
    for name, text, column in (
        ("m.yaml", f"\nmodel: {digits}", 8),
        ("m.json", f'{{\n"model": {digits}}}', 10),
        ("m.toml", f"\nmodel = {digits}\n\n", 9),
    ):
        (finding,) = findings(write(text, name))
        assert (finding.line, finding.column) == (2, column)
        assert len(finding.message) < 200


def test_empty_file(write: Callable[..., Path]) -> None:
    """An empty file is an empty config in every format: what it lacks is said."""
    for suffix in ("yaml", "toml", "json"):
        (finding,) = findings(write("", f"m.{suffix}"))
        assert (finding.key, finding.message.partition(":")[0]) == ("model", "is missing")


class Quoting(yaml.SafeDumper):
    """Quotes text that begins like a number: YAML 1.1, which PyYAML writes, has no number `0E0` or `0o7`."""


def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, '"' if re.match(r"[-+]?[.\d]", text) else None)


Quoting.add_representer(str, quoted)


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), PLAIN, max_size=3))
@example({"0E0": None, "a": ["1e3", "-0o7", ".5E1"]})
def test_yaml_is_read_as_pyyaml_reads_it(data: Any) -> None:
    """What PyYAML writes is read as the same data, and every value has a place."""
    from detloss.config.read_yaml import read_yaml

    document = read_yaml(yaml.dump(data, Dumper=Quoting))
    assert document.data == data
    assert set(document.values) == set(paths(data))
    assert not document.findings


def test_read_document_keeps_places(write: Callable[..., Path]) -> None:
    """A document says where each key and each value stands."""
    document = read_document(write("a: 1\nb:\n  c: [x, y]\n"))
    assert document.data == {"a": 1, "b": {"c": ["x", "y"]}}
    assert document.keys[("b", "c")] == (3, 3)
    assert document.values[("b", "c")] == (3, 6)
    assert document.values[("b", "c", 1)] == (3, 10)
