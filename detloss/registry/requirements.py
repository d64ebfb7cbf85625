"""Requirements of installed distributions that are not met."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from detloss.registry.distributions import normalized
from detloss.text import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Unmet", "unmet"]


class Unmet(NamedTuple):
    """A requirement that is not met.

    Attributes:
        requirement: The requirement, without its marker; where it cannot be read, the whole line.
        version: What is installed; None where nothing is, or where the line cannot be read.
        flaw: Why the line cannot be read; empty where it can.
    """

    requirement: str
    version: str | None
    flaw: str = ""


def unmet(requires: Iterable[str], installed: Mapping[str, str]) -> Iterator[Unmet]:
    """Yield each requirement that is not met.

    Args:
        requires: ``Requires-Dist`` lines; those for an extra or another platform are passed over.
        installed: Normalised name -> version.
    """
    # Long runs of blanks, and long lines, take a library's patterns the square of their length.
    flaws = 0
    # Runs of blanks take the patterns of packaging the square of their length.
    lines = (" ".join(line.split()) for line in requires)
    for line in lines:
        if _surely_met(line, installed):
            continue
        try:
            requirement = _read(line)
        except Exception as error:  # noqa: BLE001 - packaging fails in many ways on what is not a requirement
            yield Unmet(line, None, f"{type(error).__name__}: {one_line(error)}")
            flaws += 1
            if flaws == _MOST_FLAWS:
                return
            continue
        if requirement is not None:
            version = installed.get(normalized(requirement.name))
            if version is None or not _meets(version, requirement):
                yield Unmet(str(requirement), version)


def _read(line: str) -> Requirement | None:
    """Return a requirement without its marker, or None where it is for an extra or another platform."""
    # Imported here, where something is left to say: it takes a tenth of the time of `detloss list`.
    from packaging.requirements import Requirement  # noqa: PLC0415

    if len(line) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST} characters")
    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    requirement.marker = None
    return requirement


def _meets(version: str, requirement: Requirement) -> bool:
    try:
        # An empty version is a folder that names none: nothing can be said against it, nor against an unreadable one.
        return not version or requirement.specifier.contains(version, prereleases=True)
    except ValueError:
        return True


def _surely_met(line: str, installed: Mapping[str, str]) -> bool:
    """Tell, without `packaging`, that ``name>=1.2,<2`` and the like is met; False means that it must be looked at.

    Plain releases compare as their numbers, trailing zeros aside (PEP 440, "Version ordering").
    """
    match = re.fullmatch(r"([A-Za-z0-9._-]+?)((?: ?(?:>=|<) ?[\d.]+(?: ?,)?)*)", line)
    version = installed.get(normalized(match[1])) if match and len(line) <= _LONGEST else None
    if match is None or version is None or not re.fullmatch(r"\d+(\.\d+)*", version):
        return False

    def release(text: str) -> list[int]:
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        while numbers and not numbers[-1]:
            numbers.pop()
        return numbers

    bounds = re.findall(r"(>=|<) ?([\d.]+)", match[2])
    return all((release(version) >= release(bound)) is (sign == ">=") for sign, bound in bounds)


_MOST_FLAWS = 10
"""Lines that cannot be read after which the rest is not: a long one takes packaging milliseconds."""
_LONGEST = 1000
"""Characters of a requirement that is read."""
