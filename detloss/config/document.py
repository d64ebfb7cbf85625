"""What a config says, where each key and value of it stands, and what is found wrong with it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from detloss.config.messages import KeyPath, dotted
from detloss.errors import ConfigError, Finding
from detloss.text import printable

__all__ = ["Document", "Position", "place_in", "refused"]


class Position(NamedTuple):
    """Line and column of a character, both from 1."""

    line: int
    column: int


@dataclass
class Document:
    """Plain data, where each key and value of it stands, and what is found wrong with it.

    Attributes:
        data: What the file says.
        file: The file's name for messages; None for data that came from no file.
        keys: Key path -> where its key stands (for a list item, where the item stands).
        values: Key path -> where its value stands.
        overridden: Key paths whose value did not come from the file.
        findings: What is wrong with it.
    """

    data: Any
    file: str | None = None
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    overridden: set[KeyPath] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def note(
        self, path: KeyPath, message: str, *, near: str | None = None, at: Position | None = None, at_key: bool = False
    ) -> None:
        """Add a finding.

        Args:
            path: The key that it is about.
            message: What was expected, what was found and what to do.
            near: The known key or name that is closest to an unknown one.
            at: Where it stands; left out, where the value of `path`, or the nearest mapping around it, stands.
            at_key: Where its key stands, then, rather than its value.
        """
        override = self._is_overridden(path)
        if at is None and not override:
            places = self.keys if at_key else self.values
            above = (path[:length] for length in range(len(path), -1, -1))
            at = places.get(path) or next((self.values[part] for part in above if part in self.values), None)
        line, column = at or (None, None)
        # A validator of a plugin's may say anything, values of the config among it.
        self.findings.append(Finding(printable(message), dotted(path), self.file, line, column, near, override))

    def _is_overridden(self, path: KeyPath) -> bool:
        return any(path[:length] in self.overridden for length in range(len(path) + 1))


def place_in(text: str) -> Callable[[int], Position]:
    """Return a function from an offset into the text to its line and column."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(offset: int) -> Position:
        line = bisect_right(starts, offset)
        return Position(line, offset - starts[line - 1] + 1)

    return place


def refused(document: Document, message: str, at: Position | None = None) -> ConfigError:
    """Return the error of a text that cannot be read any further."""
    return ConfigError([*document.findings, Finding(message, "", document.file, *(at or (None, None)))])
