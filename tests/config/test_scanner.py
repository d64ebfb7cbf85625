"""Where each key and value of a JSON or TOML text stands."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_data import PLAIN, paths
from power_losses import findings

from detloss.config.scanner import TooDeepError, scan_json, scan_toml


def test_row_21_many_paths_down_below(write: Callable[..., Path]) -> None:
    """Many values far below, whose paths would fill the memory, are refused with the place of the first."""
    text = '{"model": "x",\n"a": ' + '{"a": ' * 100 + "[" + ", ".join("0" * 1000) + "]" + "}" * 100 + "}"
    (finding,) = findings(write(text, "m.json"))
    # "a" is level 1 and its value begins in column 6; each level below takes 6 more: level 33 is at 6 + 32 * 6.
    assert (finding.line, finding.column, finding.message) == (2, 198, "nested deeper than 32 levels")
    with pytest.raises(TooDeepError):
        scan_json(text)
    with pytest.raises(TooDeepError):
        scan_toml("a = " + "[" * 40 + "]" * 40)


def at(data: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        data = data[step]
    return data


@given(st.dictionaries(st.text(), PLAIN, max_size=4), st.sampled_from([None, 1, "\t"]))
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
