"""Requirements of installed distributions that are not met."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from detloss.registry.distributions import normalized

__all__ = ["unmet"]


def unmet(requires: Iterable[str], installed: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield each requirement that is not met, with the version that there is (None: not installed).

    Args:
        requires: ``Requires-Dist`` lines; those for an extra or another platform are passed over.
        installed: Normalised name -> version.
    """
    lines = [line for line in requires if not _surely_met(line, installed)]
    if not lines:
        return
    # Imported here, where something is left to say: it takes a tenth of the time of `detloss list`.
    from packaging.requirements import Requirement  # noqa: PLC0415

    for line in lines:
        try:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            version = installed.get(normalized(requirement.name))
            # An empty version is a folder that names none: nothing can be said against it.
            met = version is not None and (not version or requirement.specifier.contains(version, prereleases=True))
        except ValueError:  # what every error of packaging is: an unreadable line proves nothing
            continue
        if not met:
            requirement.marker = None
            yield str(requirement), version


def _surely_met(line: str, installed: Mapping[str, str]) -> bool:
    """Tell, without `packaging`, that ``name>=1.2,<2`` and the like is met; False means that it must be looked at.

    Plain releases compare as their numbers, trailing zeros aside (PEP 440, "Version ordering").
    """
    match = re.fullmatch(r"([A-Za-z0-9._-]+?)\s*((?:(?:>=|<)\s*[\d.]+\s*,?\s*)*)", line)
    version = installed.get(normalized(match[1])) if match else None
    if match is None or version is None or not re.fullmatch(r"\d+(\.\d+)*", version):
        return False

    def release(text: str) -> list[int]:
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        while numbers and not numbers[-1]:
            numbers.pop()
        return numbers

    bounds = re.findall(r"(>=|<)\s*([\d.]+)", match[2])
    return all((release(version) >= release(bound)) is (sign == ">=") for sign, bound in bounds)
