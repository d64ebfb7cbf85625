"""What a message shows of a config, and what it never shows."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from detloss import ConfigError, load_config
from detloss.config.messages import found, hint

pytestmark = pytest.mark.usefixtures("power_losses")


def test_error_is_pickled_with_findings(write: Callable[..., Path]) -> None:
    """A config error crosses a process border with its message and its findings."""
    with pytest.raises(ConfigError) as caught:
        load_config(write("model: 3\n"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.findings == caught.value.findings


def test_hint_is_for_numbers_and_booleans() -> None:
    """Words with an e, numbers themselves and secrets get no hint."""
    assert [hint((), value) for value in ("e", "giou", "1e", "e5", "1-3", 0.001, None, "1e-3 ", True)] == [None] * 9
    assert hint(("token",), "12") is None


def test_row_22_secrets_are_not_shown(write: Callable[..., Path]) -> None:
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
    assert len(caught.value.findings) == 2


@pytest.mark.parametrize("value", ["*hunter2", "&hunter2 x", "!hunter2 x", "!hunter2!x y", "!!hunter2 x", "2e9"])
def test_row_22_a_password_that_is_yaml_syntax_is_not_shown(write: Callable[..., Path], value: str) -> None:
    """A password that YAML takes for an alias, an anchor, a tag or a number is not in the message."""
    text = f"model: &hunter2 x\nlosses: {{roi_heads: {{name: power, api_token: {value}}}}}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write(text if value[0] == "&" else text.replace("&hunter2 ", "")))
    (finding,) = caught.value.findings
    assert finding.line == 2
    assert "hunter2" not in str(caught.value)
    assert "2e9" not in str(caught.value)


def test_row_22_thousands_of_errors_are_cut(write: Callable[..., Path]) -> None:
    """Of thousands of errors a message lists a hundred, and says how many more it knows of."""
    wrong = "".join(f"key{i}: 1\n" for i in range(3000))
    with pytest.raises(ConfigError, match="and at least 2901 more") as caught:
        load_config(write(wrong + "losses: {rpn: [" + "pwer, " * 3000 + "]}\n"))
    assert len(str(caught.value).splitlines()) == 102
    # The 3000 unknown keys and the missing model; after as many no loss is looked up.
    assert len(caught.value.findings) == 3001
