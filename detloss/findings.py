"""What is wrong with a config: one `Finding` each, all of them in one `ConfigError`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from detloss.errors import ConfigError

__all__ = [
    "Finding",
    "KeyPath",
    "config_error",
    "did_you_mean",
    "dotted",
    "findings_of",
    "found",
    "near",
    "number_hint",
]

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a config to a value."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a config.

    Attributes:
        message: What was expected, what was found and what to do.
        key: Dotted key path (``losses.roi_heads.0.weight``), as ``--set`` takes it; empty for the whole config.
        file: The file, or None where the config was not read from one.
        line: Line in it, from 1.
        column: Column in it, from 1.
        near: The known key or name that is closest to an unknown one.
        override: True where the value came from an override of the file.
    """

    message: str
    key: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    near: str | None = None
    override: bool = False

    def __str__(self) -> str:
        """``file:line:column: key path: message``, with what is known of it."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        if self.override:
            place = "override"
        return ": ".join(part for part in (place, self.key, self.message) if part)


def config_error(findings: Iterable[Finding]) -> ConfigError:
    """Return one error for all findings, in the order of the file."""
    ordered = tuple(sorted(findings, key=lambda f: (f.override, f.line or 0, f.column or 0)))
    error = ConfigError("\n".join([_headline(ordered), *(f"  {finding}" for finding in ordered)]))
    # In __dict__, so that it is pickled with the exception.
    vars(error)["findings"] = ordered
    return error


def findings_of(error: ConfigError) -> tuple[Finding, ...]:
    """Return the findings of an error; of one raised with a message alone, that message."""
    findings: tuple[Finding, ...] = getattr(error, "findings", ()) or (Finding(str(error)),)
    return findings


def near(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to this one, or None where none is close."""
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def did_you_mean(close: str | None, otherwise: str) -> str:
    """End a message on an unknown word: with the one close to it, else with a sentence on what there is."""
    return f"; did you mean {close!r}?" if close else f". {otherwise}"


def dotted(path: Sequence[str | int]) -> str:
    """Write a key path as ``--set`` takes it."""
    return ".".join(_printable(str(part)) for part in path)


def found(path: Sequence[str | int], value: Any) -> str:
    """Write a value for a message: shortened, escaped, and not at all where its key may name a secret."""
    if any(isinstance(part, str) and _SECRET.search(part) for part in path):
        return f"a {type(value).__name__} (not shown, its key may name a secret)"
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def number_hint(value: Any) -> str | None:
    """Return how to write a number that YAML 1.1 reads as text (``1e-3``), or None where the value is none."""
    match = _EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    mantissa, exponent = match["mantissa"], match["exponent"]
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"YAML reads {value} as text; write {mantissa}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"


_SHOWN = 60  # characters of a value in a message: enough to recognise it
_SECRET = re.compile(r"secret|token|passw|credential|private|(api|access)_?key|auth", re.IGNORECASE)
# What YAML 1.2 and JSON read as a float, but YAML 1.1 (PyYAML) does not: no dot, or an exponent without a sign.
_EXPONENT = re.compile(r"(?P<mantissa>[-+]?\d+(?:\.\d*)?)[eE](?P<exponent>[-+]?\d+)")


def _headline(findings: Sequence[Finding]) -> str:
    files = {finding.file for finding in findings if finding.file}
    where = f" in {files.pop()}" if len(files) == 1 else " in the config"
    return f"{len(findings)} error{'s' if len(findings) != 1 else ''}{where}:"


def _printable(text: str) -> str:
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
