"""Requirements of installed distributions that are not met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from detloss.registry.distributions import normalized
from detloss.text import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement


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
    """Yield each of the ``Requires-Dist`` lines that is not met.

    ``installed`` is normalized name -> version. Requirements of an extra or another platform are skipped.
    """
    flaws = 0
    # Runs of blanks take the patterns of packaging the square of their length.
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


def _read(line: str) -> Requirement | None:
    """Return a requirement without its marker.

    None if it is for an extra or another platform.
    """
    # Imported here: most processes look at no requirement.
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


_MOST_FLAWS = 10
"""Lines that cannot be read after which the rest is not: a long one takes packaging milliseconds."""
_LONGEST = 1000
"""Characters of a requirement that is read."""
