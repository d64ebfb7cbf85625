"""How a report writes numbers and names."""

from __future__ import annotations

from detloss.compare.result import Interval
from detloss.text import one_line

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def plain(value: float | None, digits: int = 3) -> str:
    """A number with its minus sign, or a dash if not measured."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """A difference: always with a sign, except for zero."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def between(interval: Interval | None) -> str:
    """The two ends of an interval, with the sign of near-zero ends."""
    if interval is None:
        return DASH
    return " to ".join(signed(end, 3 if abs(end) >= 0.0005 else 4) for end in (interval.low, interval.high))


def around(estimate: float, interval: Interval) -> str:
    """An estimate with its interval."""
    return f"{signed(estimate)} ({between(interval)})"


def percent(share: float | None) -> str:
    """A share, without pretending to be certain."""
    if share is None:
        return DASH
    return "< 1 %" if 0 < share < 0.01 else "> 99 %" if 0.99 < share < 1 else f"{share:.0%}".replace("%", " %")


def short(name: str, most: int = 40) -> str:
    """A name of a stranger's as one short line."""
    return one_line(name, most)
