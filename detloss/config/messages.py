"""Words for what is wrong with a config: key paths, values as found, hints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from detloss.text import clipped

__all__ = ["KeyPath", "dotted", "found", "is_secret", "number_hint"]

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a config to a value."""


def dotted(path: Sequence[str | int]) -> str:
    """Write a key path as ``--set`` takes it."""
    return ".".join(clipped(part, _SHOWN) for part in path)


def found(path: Sequence[str | int], value: Any) -> str:
    """Write a value for a message: shortened, escaped, and not at all where its key may name a secret."""
    if is_secret(path, value):
        return f"a {type(value).__name__} (not shown, it may be a secret)"
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return clipped(repr(value), _SHOWN)


def is_secret(path: Sequence[str | int], value: Any) -> bool:
    """Tell whether a value may be a secret: by a key on its way, or because it looks like one of the common kinds."""
    by_key = any(isinstance(part, str) and _SECRET_KEY.search(part) for part in path)
    return by_key or (isinstance(value, str) and _SECRET_VALUE.search(value) is not None)


def number_hint(value: Any, *, yaml: bool = True) -> str | None:
    """Return how to write a number that was read as text, or None where the value is none.

    Args:
        value: What was read.
        yaml: Whether it was read from YAML, whose version 1.1 takes ``1e-3`` for text; in TOML and JSON text is quoted.
    """
    if not isinstance(value, str):
        return None
    match = _EXPONENT.fullmatch(value) if yaml else None
    if match is not None:
        mantissa, exponent = match["mantissa"], match["exponent"]
        mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
        return f"YAML reads {value} as text; write {mantissa}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"
    if yaml and (match := _OCTAL.fullmatch(value)):
        return f"YAML reads a number that begins with 0 as octal; write {match['sign']}{match['rest']}"
    if yaml and _SEXAGESIMAL.fullmatch(value):
        return "YAML reads a number with : in base 60; write it as one decimal number"
    return "write the number without quotes" if _NUMBER.fullmatch(value) else None


_SHOWN = 60  # characters of a value in a message: enough to recognise it
_SECRET_KEY = re.compile(
    r"secret|token|passw|passphrase|pwd|credential|private|(api|access|signing)[_-]?key|auth|bearer|cookie",
    re.IGNORECASE,
)
# user:password@host, the prefixes of issued keys (Hugging Face, GitHub, OpenAI, AWS, Slack, GitLab), JWT, PEM.
_SECRET_VALUE = re.compile(
    r"//[^/\s:]*:[^/\s]*@|\b(hf_|gh[oprsu]_|github_pat_|sk-|AKIA|xox[abprs]-|glpat-|eyJ)\w{8}|-----BEGIN"
)
# What YAML 1.2 and JSON read as a float, but YAML 1.1 (PyYAML) does not: no dot, or an exponent without a sign.
_EXPONENT = re.compile(r"(?P<mantissa>[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+))[eE](?P<exponent>[-+]?\d+)")
_OCTAL = re.compile(r"(?P<sign>[-+]?)0[0_]*(?P<rest>\d[\d_]*)")
_SEXAGESIMAL = re.compile(r"[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.\d*)?")
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
