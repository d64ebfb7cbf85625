"""Reads JSON and TOML with the parsers of the standard library.

These parsers give no places. JSON is YAML too, so its places come from the YAML parser if that accepts the text. An
error in TOML has only the key path.
"""

import ast
import json
import re
import sys
import tomllib
from collections import Counter
from typing import Any

import yaml

from detloss.config.document import MAX_DEPTH, Document, Position, place_in, refused
from detloss.config.messages import dotted, found
from detloss.config.read_yaml import Nodes
from detloss.errors import ConfigError, Finding


def read_json(text: str, file: str | None = None) -> Document:
    """Read JSON text; empty text is null, as in YAML.

    Raises:
        ConfigError: The text is malformed.
    """
    repeated: list[str] = []

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return dict(pairs)

    if not text.strip():
        return Document(None, file)
    try:
        data = json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        message = re.sub(" at$", " here", error.msg) + _json_advice(error)
        raise refused(file, message, Position(error.lineno, error.colno)) from error
    except ValueError as error:
        raise _huge_integer(text, file) from error
    nodes = Nodes(file)
    try:
        root: Any = yaml.compose(text, _YAML)
        nodes.value(root, ())
    except yaml.YAMLError:  # half a character, or a key of a thousand characters
        again = [f"the key {found((), key)} appears twice in one mapping. Fix: remove one" for key in repeated]
        nodes.findings[:] = [Finding(message, "", file, 1, 1) for message in again]
    return nodes.document(data)


def read_toml(text: str, file: str | None = None) -> Document:
    """Read TOML text.

    Raises:
        ConfigError: The text is malformed.
    """
    if key := _LONG_KEY.search(text):  # tomllib stores it once per part: quadratic memory
        raise refused(file, f"a key has more than {MAX_DEPTH} parts", place_in(text)(key.start()))
    try:
        return Document(tomllib.loads(text), file)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        at = Position(int(place[1]), int(place[2])) if place else Position(text.count("\n") + 1, 1)
        message = re.sub(r" \(at .*\)$", "", str(error))
        # A key comes as the tuple of its parts.
        message = re.sub(r"\(('[^']*',? ?)+\)", lambda key: dotted(ast.literal_eval(key[0])), message)
        advice = ". Fix: put text in quotes" if message == "Invalid value" else ""
        raise refused(file, message + advice, at) from error
    except ValueError as error:
        raise _huge_integer(text, file) from error


_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _json_advice(error: json.JSONDecodeError) -> str:
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :]
    if after.startswith(("//", "/*", "#")):
        return ". Fix: remove the comment"
    # Python 3.13 points at the comma, earlier ones at what follows.
    if re.match(r",\s*[]}]", after) or (after.startswith(("}", "]")) and before.endswith(",")):
        return ". Fix: remove the comma after the last item"
    return ". Fix: put text in double quotes" if after.startswith("'") else ""


def _huge_integer(text: str, file: str | None) -> ConfigError:
    """Return the error of an integer that Python refuses to read.

    Python does not say where it is.
    """
    most = sys.get_int_max_str_digits()
    digits = re.search(rf"[\d_]{{{most + 1}}}", text)
    at = place_in(text)(digits.start()) if digits else None
    return refused(file, f"an integer of more than {most} digits", at)


# Parts of a dotted TOML key, quoted or not, at any place. Text with so many words and dots is found too.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH},}}""")
