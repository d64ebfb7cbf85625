"""Words for what is wrong with a config: key paths, values as found, hints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from detloss.text import clipped

__all__ = ["KeyPath", "dotted", "found", "hint", "is_secret"]

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


def hint(path: Sequence[str | int], value: Any) -> str | None:
    """Return how to write text that was meant as a number, true or false; None where it is neither, or a secret."""
    if not isinstance(value, str) or is_secret(path, value):
        return None
    if value.lower() in _BOOLEANS:
        return f"write {_BOOLEANS[value.lower()]}"
    if _NUMBER.fullmatch(value):
        return f"write the number without {'underscores' if '_' in value else 'quotes'}"
    return None


_SHOWN = 60  # characters of a value in a message: enough to recognise it
_SECRET_KEY = re.compile(
    r"secret|token|passw|passphrase|pwd|credential|private|(api|access|signing)[_-]?key|auth|bearer|cookie",
    re.IGNORECASE,
)
# user:password@host, the prefixes of issued keys (Hugging Face, GitHub, OpenAI, AWS, Slack, GitLab), JWT, PEM.
_SECRET_VALUE = re.compile(
    r"//[^/\s:]*:[^/\s]*@|\b(hf_|gh[oprsu]_|github_pat_|sk-|AKIA|xox[abprs]-|glpat-|eyJ)\w{8}|-----BEGIN"
)
_BOOLEANS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
