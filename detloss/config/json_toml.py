"""Reading JSON and TOML with the parsers of the standard library; the scanner says where everything stands."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable

from detloss.config.document import Document, Position, place_in, refused
from detloss.config.messages import dotted
from detloss.config.scanner import MAX_DEPTH, Places, TooDeepError, scan_json, scan_toml
from detloss.errors import ConfigError

__all__ = ["read_json", "read_toml"]


def read_json(text: str, document: Document) -> None:
    """Fill the document from JSON text; an empty one is an empty config, as in YAML and TOML.

    Raises:
        ConfigError: the text is malformed or too deep.
    """
    try:
        document.data = json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        message = re.sub(" at$", " here", error.msg) + _json_advice(error)
        raise refused(document, message, Position(error.lineno, error.colno)) from error
    except ValueError as error:
        raise _huge_integer(text, document) from error
    _locate(scan_json, text, document)


def read_toml(text: str, document: Document) -> None:
    """Fill the document from TOML text.

    Raises:
        ConfigError: the text is malformed or too deep.
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
    _locate(scan_toml, text, document)


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


def _locate(scan: Callable[[str], Places], text: str, document: Document) -> None:
    place = place_in(text)
    try:
        places = scan(text)
    except TooDeepError as error:
        raise refused(document, f"nested deeper than {MAX_DEPTH} levels", place(error.offset)) from None
    document.keys.update((path, place(offset)) for path, offset in places.keys.items())
    document.values.update((path, place(offset)) for path, offset in places.values.items())
    for path, offset in places.repeated:
        document.note(path, "this key stands in its mapping twice; remove one", at=place(offset))


# Parts of a dotted TOML key, quoted or not, in whatever place: text of so many words and dots is not missed either.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH},}}""")
