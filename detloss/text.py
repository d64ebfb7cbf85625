"""Foreign text in messages: escaped, cut, compared with known words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 80
"""Characters of a foreign name or error in a message."""


def printable(text: str) -> str:
    """Escape control characters and lone surrogates: text must not steer terminals."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Escape a text of several lines likewise; its line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def clipped(value: object, length: int = SHOWN) -> str:
    """Show a value in a message: escaped, and cut after ``length`` characters."""
    text = printable(str(value))
    return text if len(text) <= length else f"{text[:length]}..."


def one_line(value: object, length: int = SHOWN) -> str:
    """Show a text of several lines in one, escaped and cut."""
    return clipped(" ".join(str(value).split()), length)


def reason(error: BaseException) -> str:
    """Say why a file cannot be read, without its path."""
    return clipped(getattr(error, "strerror", None) or error)


def counted(number: int, one: str) -> str:
    """Count things in words: ``1 loss``, ``2 losses``, ``0 boxes``."""
    several = one if number == 1 else f"{one}es" if one.endswith(("s", "x", "ch")) else f"{one}s"
    return f"{number:,} {several}"


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known words with similar spelling, the closest first."""
    return get_close_matches(word, list(known), n=most)


def near(word: str, known: Iterable[str]) -> str | None:
    """Return the closest known word, or None if none is close."""
    return next(iter(nearest(word, known, 1)), None)


def did_you_mean(close: str | None, otherwise: str) -> str:
    """End a message on an unknown word: suggest one, or list all."""
    return f"; did you mean {close!r}?" if close else f". {otherwise}"
