"""What is wrong with a config: one `Finding` each, all of them in one `ConfigError`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from detloss.errors import ConfigError

__all__ = [
    "MAX_SHOWN",
    "Finding",
    "KeyPath",
    "config_error",
    "did_you_mean",
    "dotted",
    "findings_of",
    "found",
    "is_secret",
    "near",
    "number_hint",
]

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a config to a value."""

MAX_SHOWN = 100
"""Findings that a message lists: nobody reads more, and no loss is looked up after as many."""


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
    lines = [_headline(ordered), *(f"  {finding}" for finding in ordered[:MAX_SHOWN])]
    if len(ordered) > MAX_SHOWN:
        lines.append(f"  ... and at least {len(ordered) - MAX_SHOWN} more: mend these first")
    error = ConfigError("\n".join(lines))
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
    if is_secret(path, value):
        return f"a {type(value).__name__} (not shown, it may be a secret)"
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


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


def _headline(findings: Sequence[Finding]) -> str:
    files = {finding.file for finding in findings if finding.file}
    where = f" in {files.pop()}" if len(files) == 1 else " in the config"
    return f"{len(findings)} error{'s' if len(findings) != 1 else ''}{where}:"


def _printable(text: str) -> str:
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
