"""A config as plain data, with the place of each value."""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

from pydantic import BaseModel

from detloss.config.messages import KeyPath, dotted, found
from detloss.errors import ConfigError, Finding
from detloss.text import printable

MAX_DEPTH = 32
"""Levels of nesting: a config has 5, wrappers of wrappers a few more."""

MAX_VALUES = 10_000  # values after aliases are followed: what keeps an alias bomb small
TOO_MANY = f"more than {MAX_VALUES} values after aliases are followed. Fix: write them out"


class Position(NamedTuple):
    """Line and column of a character, both from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """The content of a config, with the place of each value.

    Attributes:
        data: What it says.
        file: The file's name for messages; None for data that came from no file.
        keys: Key path -> the place of its key (of a list item, the item's place).
        values: Key path -> the place of its value.
        overridden: Keys, as ``--set`` takes them, whose value did not come from the file.
        findings: The errors found so far.
    """

    data: Any = None
    file: str | None = None
    keys: Mapping[KeyPath, Position] = field(default_factory=dict)
    values: Mapping[KeyPath, Position] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()

    def as_plain(self) -> Document:
        """Return the document as plain data, with findings on other values."""
        notes = Notes(self)
        return replace(self, data=plain(self.data, notes), findings=tuple(notes.findings))


class Notes:
    """Collects the findings of all checks of a document.

    Checks do not raise, so that one error lists all findings.

    Attributes:
        document: What is checked.
        findings: What is wrong with it, from its reading on.
    """

    def __init__(self, document: Document | None = None) -> None:
        self.document = document or Document()
        self.findings = list(self.document.findings)

    def note(self, path: KeyPath, message: str, near: str | None = None, at_key: bool = False) -> None:
        """Add a finding.

        Args:
            path: The key. A missing key gets the place of the nearest mapping around it.
            message: What was expected, what was found, and the fix.
            near: The known key or name closest to an unknown one.
            at_key: Whether to point at the key, not at its value.
        """
        document, at = self.document, None
        above = [path[:length] for length in range(len(path), -1, -1)]
        override = not document.overridden.isdisjoint(".".join(map(str, part)) for part in above)
        if path not in document.values:  # an override may have created it
            below = ".".join(map(str, (*path, "")))
            override |= any(key.startswith(below) for key in document.overridden)
        if not override:
            at = (document.keys if at_key else document.values).get(path)
            at = at or next((document.values[part] for part in above if part in document.values), None)
        line, column = at or (None, None)
        # A plugin's validator may say anything, including values of the config.
        self.findings.append(Finding(printable(message), dotted(path), document.file, line, column, near, override))


def plain(value: Any, notes: Notes, path: KeyPath = ()) -> Any:
    """Return a value as plain data.

    That is: dicts with words for keys, lists, text, finite numbers, booleans and None.

    Models are dumped, paths become text. Other values are noted and become None.
    """
    return _plain(value, notes, path, count(1))


def place_in(text: str) -> Callable[[int], Position]:
    """Return a function from a text offset to line and column."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(offset: int) -> Position:
        line = bisect_right(starts, offset)
        return Position(line, offset - starts[line - 1] + 1)

    return place


def refused(
    file: str | None, message: str, at: Position | None = None, findings: Iterable[Finding] = ()
) -> ConfigError:
    """Return the error of an unreadable text, after the findings so far."""
    return ConfigError([*findings, Finding(message, "", file, *(at or (None, None)))])


def _plain(value: Any, notes: Notes, path: KeyPath, counter: Iterator[int]) -> Any:
    number = next(counter)
    if number > MAX_VALUES:
        if number == MAX_VALUES + 1:
            notes.note(path, TOO_MANY)
        return None
    if len(path) > MAX_DEPTH:
        notes.note(path, f"nested deeper than {MAX_DEPTH} levels")
        return None
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        words = _with_words(value, notes, path)
        return {key: _plain(item, notes, (*path, key), counter) for key, item in words.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, notes, (*path, i), counter) for i, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        notes.note(path, f"should be a finite number, found {value}")
    elif isinstance(value, str) and _NOT_TEXT.search(value):
        notes.note(path, f"should be Unicode text without NUL, found {found(path, value)}")
    elif value is None or isinstance(value, str | bool | int | float):
        return value
    else:
        notes.note(
            path,
            f"a config holds plain data (text, numbers, lists, mappings), not a {type(value).__name__}. Fix: for "
            "anything else, build the model yourself and use detloss.inject",
        )
    return None


def _with_words(mapping: Mapping[Any, Any], notes: Notes, path: KeyPath) -> dict[str, Any]:
    for key in mapping:
        if not isinstance(key, str):
            notes.note((*path, str(key)), f"a key is a word, not a {type(key).__name__}", at_key=True)
        elif _NOT_TEXT.search(key):
            notes.note((*path, key), "a key is Unicode text without NUL", at_key=True)
    return {str(key): item for key, item in mapping.items() if not _NOT_TEXT.search(str(key))}


# Half of a character, which JSON escapes and file names can hold but UTF-8 cannot; and NUL, which paths cannot hold.
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
