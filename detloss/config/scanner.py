"""Where the keys and values of a TOML or JSON text stand: the parsers of the standard library do not say.

The scanner is given text that the standard library has parsed already. So it may take the syntax for granted, and
needs to tell strings, brackets and bare words apart, no more.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field

from detloss.config.messages import KeyPath

__all__ = ["MAX_DEPTH", "Places", "TooDeepError", "scan_json", "scan_toml"]

MAX_DEPTH = 32
"""Levels of nesting: a config has 5, wrappers of wrappers a few more."""


class TooDeepError(Exception):
    """A value is nested too deeply: the paths of many such values would fill the memory.

    Attributes:
        offset: Where it stands.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


@dataclass
class Places:
    """Offsets into a text.

    Attributes:
        keys: Key path -> offset of its key (of a list item: of the item).
        values: Key path -> offset of its value.
        repeated: Key path and offset of every key that stands in its mapping for a second time.
    """

    keys: dict[KeyPath, int] = field(default_factory=dict)
    values: dict[KeyPath, int] = field(default_factory=dict)
    repeated: list[tuple[KeyPath, int]] = field(default_factory=list)


def scan_json(text: str) -> Places:
    """Return where everything stands in valid JSON text.

    Raises:
        TooDeepError: Something is nested deeper than `MAX_DEPTH`.
    """
    scanner = _Scanner(text, ":")
    scanner.value(())
    return scanner.places


def scan_toml(text: str) -> Places:
    """Return where everything stands in valid TOML text.

    Raises:
        TooDeepError: Something is nested deeper than `MAX_DEPTH`.
    """
    scanner = _Scanner(text, "=")
    scanner.statements()
    return scanner.places


_BLANK = re.compile(r"(?:\s|#[^\n]*)*")  # JSON has no comments, and valid JSON no # outside a string
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'  # up to two quotes may stand before the three that close
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


class _Scanner:
    """A position in the text that only moves forward."""

    def __init__(self, text: str, separator: str) -> None:
        self.text = text
        self.separator = separator
        self.at = 0
        self.places = Places()
        self.tables: dict[KeyPath, int] = {}  # path of a TOML array of tables -> how many there are so far

    def statements(self) -> None:
        """Scan the lines of a TOML document: headers of tables, and keys with values."""
        self.places.values[()] = 0
        table: KeyPath = ()
        while self.peek():
            if self.peek() != "[":
                self.pair(table)
                continue
            start = self.at
            brackets = 2 if self.text.startswith("[[", self.at) else 1
            self.at += brackets
            table = self.header(self.key(), start, is_array=brackets == 2)
            self.peek()
            self.at += brackets

    def header(self, parts: list[tuple[str, int]], start: int, *, is_array: bool) -> KeyPath:
        """Return the path of the table that a header opens, with the index where it is one of an array."""
        path: KeyPath = ()
        for part, offset in parts[:-1]:
            path = (*path, part)
            self.place(path, offset, offset)
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
        part, offset = parts[-1]
        path = (*path, part)
        self.place(path, offset, start)
        if is_array:
            index = self.tables.setdefault(path, 0)
            self.tables[path] += 1
            path = (*path, index)
            self.place(path, offset, start)
        return path

    def pair(self, table: KeyPath) -> None:
        """Scan ``key = value`` (``"key": value`` in JSON)."""
        path = table
        offset = self.at
        parts = self.key()
        for part, offset in parts:
            path = (*path, part)
            if len(path) < len(table) + len(parts):  # a table that a dotted key opens
                self.place(path, offset, offset)
        if path in self.places.keys:
            self.places.repeated.append((path, offset))
            self.places.values.pop(path, None)  # the last one counts
        self.places.keys[path] = offset
        self.peek()
        self.at += len(self.separator)
        self.value(path)

    def key(self) -> list[tuple[str, int]]:
        """Scan a key, dotted or not, into its parts with their offsets."""
        parts = []
        while True:
            self.peek()
            offset = self.at
            if string := _STRING.match(self.text, offset):
                self.at = string.end()
                parts.append((self.decode(string[0]), offset))
            else:
                bare = _BARE_KEY.match(self.text, offset)
                self.at = bare.end() if bare else offset + 1
                parts.append((self.text[offset : self.at], offset))
            if self.peek() != ".":
                return parts
            self.at += 1

    def value(self, path: KeyPath) -> None:
        """Scan a value, with everything in it."""
        char = self.peek()
        self.place(path, self.at, self.at)
        if char == "{":
            self.items(path, "}")
        elif char == "[":
            self.items(path, "]")
        else:
            token = _STRING.match(self.text, self.at) or _BARE_VALUE.match(self.text, self.at)
            self.at = token.end() if token else len(self.text)

    def items(self, path: KeyPath, closing: str) -> None:
        """Scan what stands between two brackets, commas between."""
        self.at += 1
        index = 0
        while self.peek() not in {closing, ""}:
            if closing == "}":
                self.pair(path)
            else:
                self.value((*path, index))
                index += 1
            if self.peek() == ",":
                self.at += 1
        self.at += 1

    def peek(self) -> str:
        """Go over blanks and comments and return the next character; empty at the end."""
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.text[self.at : self.at + 1]

    def place(self, path: KeyPath, key: int, value: int) -> None:
        if len(path) > MAX_DEPTH:
            raise TooDeepError(value)
        self.places.keys.setdefault(path, key)
        self.places.values.setdefault(path, value)

    def decode(self, token: str) -> str:
        """Return what a quoted key says."""
        text: str = json.loads(token) if self.separator == ":" else tomllib.loads(f"key = {token}")["key"]
        return text
