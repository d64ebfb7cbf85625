"""Requirements of installed distributions that are not met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from detloss.registry.distributions import normalized
from detloss.text import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement


class Unmet(NamedTuple):
    """A requirement that is not met.

    Attributes:
        requirement: The requirement without its marker, or the whole line if it cannot be read.
        version: The installed version; None if nothing is installed, or the line cannot be read.
        flaw: Why the line cannot be read, or empty.
    """

    requirement: str
    version: str | None
    flaw: str = ""


def unmet(requires: Iterable[str], installed: Mapping[str, str]) -> Iterator[Unmet]:
    """Yield each of the ``Requires-Dist`` lines that is not met.

    ``installed`` is normalized name -> version. Requirements of an extra or another platform are skipped.
    """
    flaws = 0
    # The patterns of packaging take quadratic time on runs of blanks.
    for line in (" ".join(line.split()) for line in requires):
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


@lru_cache(maxsize=1000)
def _read(line: str) -> Requirement | None:
    """Return a requirement without its marker.

    None if it is for an extra or another platform. Callers share it, so they do not change it.
    """
    # Imported here: most processes need no requirement.
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
        # An empty version is a folder without one. It is accepted, and so is an unreadable version.
        return not version or requirement.specifier.contains(version, prereleases=True)
    except ValueError:
        return True


_MOST_FLAWS = 10
"""After as many unreadable lines the rest is skipped: packaging takes milliseconds for a long line."""
_LONGEST = 1000
"""Longest requirement that is read, in characters."""
