"""Reading JSON and TOML with the parsers of the standard library.

Neither says where a value stands. JSON is YAML too, so its places come from the YAML parser, where that accepts the
text; of what is wrong in TOML the key path alone is known.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from typing import Any

import yaml

from detloss.config.document import Document, Position, place_in, refused
from detloss.config.messages import KeyPath, dotted, found
from detloss.config.read_yaml import MAX_DEPTH
from detloss.errors import ConfigError

__all__ = ["read_json", "read_toml"]


def read_json(text: str, document: Document) -> None:
    """Fill the document from JSON text; an empty one is an empty config, as in YAML and TOML.

    Raises:
        ConfigError: the text is malformed.
    """
    repeated: list[str] = []

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique: dict[str, Any] = {}
        for key, value in pairs:
            if key in unique:
                repeated.append(key)
            unique[key] = value
        return unique

    document.values[()] = Position(1, 1)
    if not text.strip():
        return
    try:
        document.data = json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        message = re.sub(" at$", " here", error.msg) + _json_advice(error)
        raise refused(document, message, Position(error.lineno, error.colno)) from error
    except ValueError as error:
        raise _huge_integer(text, document) from error
    try:
        root: Any = yaml.compose(text, _YAML)
        _locate(root, (), document)
    except yaml.YAMLError:  # at half a character, or a key of a thousand ones
        for key in repeated:
            document.note((), f"the key {found((), key)} stands in one mapping twice; remove one")


def read_toml(text: str, document: Document) -> None:
    """Fill the document from TOML text.

    Raises:
        ConfigError: the text is malformed.
    """
    if key := _LONG_KEY.search(text):  # which tomllib stores once for each of its parts: its square in memory
        raise refused(document, f"a key has more than {MAX_DEPTH} parts", place_in(text)(key.start()))
    try:
        document.data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        at = Position(int(place[1]), int(place[2])) if place else Position(text.count("\n") + 1, 1)
        message = re.sub(r" \(at .*\)$", "", str(error))
        # A key comes as the tuple of its parts.
        message = re.sub(r"\(('[^']*',? ?)+\)", lambda key: dotted(ast.literal_eval(key[0])), message)
        advice = "; text stands in quotes" if message == "Invalid value" else ""
        raise refused(document, message + advice, at) from error
    except ValueError as error:
        raise _huge_integer(text, document) from error


_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _locate(node: yaml.Node, path: KeyPath, document: Document) -> None:
    """Write down where everything stands, and note each key that stands in its mapping twice."""
    document.values[path] = _position(node)
    document.keys.setdefault(path, _position(node))
    if len(path) > MAX_DEPTH:  # the paths of many values below would fill the memory; they are refused anyway
        return
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _locate(item, (*path, index), document)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                document.note((*path, key.value), "this key stands in its mapping twice; remove one", at=_position(key))
            seen.add(key.value)
            document.keys[(*path, key.value)] = _position(key)
            _locate(value, (*path, key.value), document)


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _json_advice(error: json.JSONDecodeError) -> str:
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :]
    if after.startswith(("//", "/*", "#")):
        return "; JSON has no comments"
    if after.startswith(("}", "]")) and before.endswith(","):
        return "; JSON has no comma after the last item"
    return "; JSON has text in double quotes" if after.startswith("'") else ""


def _huge_integer(text: str, document: Document) -> ConfigError:
    """Return the error of an integer that Python refuses to read, which does not say where it stands."""
    most = sys.get_int_max_str_digits()
    digits = re.search(rf"[\d_]{{{most + 1}}}", text)
    at = place_in(text)(digits.start()) if digits else None
    return refused(document, f"an integer of more than {most} digits", at)


# Parts of a dotted TOML key, quoted or not, in whatever place: text of so many words and dots is not missed either.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH},}}""")
