"""Whatever a config file holds, it is read or refused with a ConfigError whose places lie inside the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detloss import ConfigError, ModelConfig, load_config
from detloss.models import check_model
from detloss.registry import find_plugins
from detloss.training import TrainConfig

SUFFIXES = ("yaml", "toml", "json")
NAMES = [plugin.name for plugin in find_plugins() if plugin.package.startswith("detloss-")]

words = st.one_of(
    st.sampled_from(
        ["model", "losses", "roi_heads", "rpn", "name", "weight", "giou", "eps", "inner", "options", "data"]
    ),
    st.text(max_size=5),
)
MARKS = (
    r'''[ ] { } [[ ]] " ' """ # &a *a !!x << \ \u0000 ... > ? % @ ` ~ null true on 1e-3 010 1:30 .nan -.inf 1_0 0x_'''
)
BREAKS = [
    ": ", " = ", ", ", "- ", "\n", "\n  ", "\t", "\r\n", "---\n", "|\n", "\x00", "\x1b", "\u2028", "\x85", "\ufeff",
    "\ud800",
]  # fmt: skip
marks = st.sampled_from([*MARKS.split(), *BREAKS])
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(NAMES) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "model": plain | st.just("ssd300_vgg16"),
        "num_classes": plain | st.integers(2, 9),
        "options": plain,
        "losses": plain | st.dictionaries(st.sampled_from(["roi_heads", "ssd", "x"]), plain, max_size=2),
        "data": plain,
        "train": plain | st.dictionaries(st.sampled_from(["epochs", "lr", "guard"]), plain, max_size=3),
        "api_token": plain,
    },
)


def check_file(folder: Path, data: bytes, suffix: str, schema: type[ModelConfig]) -> None:
    """Load a file; where it is refused, hold every finding to a place inside it."""
    file = folder / f"config.{suffix}"
    file.write_bytes(data)
    try:
        load_config(file, schema, check=check_model)
    except ConfigError as error:
        found = error.findings
        message = str(error)
    else:
        return
    assert found
    message.encode()
    # As editors and PyYAML count lines; TOML and JSON know fewer of these line breaks.
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", data.decode("utf-8-sig", "replace"))
    for finding in found:
        assert finding.file == str(file)
        assert finding.message
        assert finding.message.isprintable()
        assert finding.key.isprintable()
        if finding.line is not None:
            assert 1 <= finding.line <= len(lines)
            column = finding.column or 0
            assert column >= 1
            if data.isascii():
                assert column <= len(lines[finding.line - 1]) + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs")


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(parts=st.lists(words | marks, max_size=25))
def test_row_22_any_text(folder: Path, suffix: str, parts: list[str]) -> None:
    """Any text is read as a config or refused with a ConfigError whose places lie inside the file."""
    check_file(folder, "".join(parts).encode("utf-8", "surrogatepass"), suffix, ModelConfig)


@given(data=st.binary(max_size=80), suffix=st.sampled_from(SUFFIXES))
def test_row_22_any_bytes(folder: Path, data: bytes, suffix: str) -> None:
    """Any bytes are read as a config or refused with a ConfigError whose places lie inside the file."""
    check_file(folder, data, suffix, ModelConfig)


@given(data=configs, suffix=st.sampled_from(["yaml", "json"]), schema=st.sampled_from([ModelConfig, TrainConfig]))
@example({"model": "\ud800"}, "json", ModelConfig)
@example({"model": "x", "losses": {"ssd": [None, {"name": "giou", "\ud800": 1}]}}, "json", ModelConfig)
def test_row_22_any_data(folder: Path, data: Any, suffix: str, schema: type[ModelConfig]) -> None:
    """Any data in the keys of a config is accepted or refused with a ConfigError whose places lie inside the file."""
    text = json.dumps(data) if suffix == "json" else yaml.safe_dump(data)
    check_file(folder, text.encode("utf-8", "surrogatepass"), suffix, schema)


@given(data=configs | plain)
def test_row_22_any_mapping(data: Any) -> None:
    """A mapping in Python is accepted or refused with a ConfigError alike, and so is what is no mapping."""
    if isinstance(data, str):
        return  # the name of a file
    with pytest.raises(ConfigError):
        load_config({**data, "no_such_key": 1} if isinstance(data, dict) else data)


specs = st.one_of(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {"name": st.sampled_from(NAMES)},
        optional={
            "weight": st.floats(0, 1e6) | st.integers(0, 100),
            "normalizer": st.sampled_from(["stock", "positives"]),
            "compile": st.booleans(),
        },
    ),
    st.fixed_dictionaries({"name": st.just("smooth_l1"), "beta": st.floats(0.01, 100)}),
)
valid = st.fixed_dictionaries(
    {"model": st.just("fasterrcnn_resnet50_fpn")},
    optional={
        "num_classes": st.integers(2, 1000),
        "options": st.just({"box_detections_per_img": 50}),
        "losses": st.dictionaries(
            st.sampled_from(["roi_heads", "rpn"]), specs | st.lists(specs, min_size=1, max_size=3), max_size=2
        ),
    },
)


def toml(data: dict[str, Any]) -> str:
    """The same data as TOML: every value that is no mapping is written as JSON writes it."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in data.items())


@settings(max_examples=30)
@given(data=valid)
def test_row_22_a_valid_config_is_the_same_in_every_format(folder: Path, data: dict[str, Any]) -> None:
    """A valid config gives one ModelConfig from a mapping, YAML, TOML, JSON, and from its own dump."""
    config = load_config(data, check=check_model)
    for suffix, text in (("yaml", yaml.safe_dump(data)), ("toml", toml(data)), ("json", json.dumps(data))):
        file = folder / f"valid.{suffix}"
        file.write_text(text, encoding="utf-8")
        assert load_config(file) == config
    assert load_config(config.model_dump(exclude_unset=True)) == config
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
