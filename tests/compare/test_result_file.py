"""``compare.json``, written and read."""

from __future__ import annotations

import pytest

from detloss import ConfigError
from detloss.compare.result_file import read_comparison


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "it is damaged, or something else"),
        ("[]", "it is damaged, or something else"),
        ("{}", "it is damaged, or something else"),
        ('{"schema_version": 1}', "it is damaged, or something else"),
        ('{"schema_version": 2}', "its schema_version is 2, expected 1"),
        ("[" * 100_000, "it is damaged, or something else"),
    ],
)
def test_a_file_that_is_no_comparison(tmp_path, content, what):
    """A damaged or foreign file is named, with what is wrong and how to write it again."""
    file = tmp_path / "compare.json"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_comparison(file)
    assert what in str(caught.value)
    assert str(file) in str(caught.value)
    assert f"detloss compare --resume {tmp_path}" in str(caught.value)


def test_no_file(tmp_path):
    """A missing file is named."""
    with pytest.raises(ConfigError, match=r"compare\.json cannot be read: No such file"):
        read_comparison(tmp_path / "compare.json")
