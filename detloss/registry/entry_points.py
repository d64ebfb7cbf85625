"""Entry points of installed distributions, read one file at a time.

Each distribution's ``entry_points.txt`` is parsed separately, so a faulty file affects no other distribution. Nothing
here imports a plugin or raises: errors become a `Problem` with file and line. The work is linear in the size of the
files, which is limited.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import entrypoints

from detloss.registry.distributions import (
    Distribution,
    MetadataError,
    Problem,
    distributions,
    folders,
    read_file,
    reported,
    with_metadata,
)
from detloss.text import clipped, printable

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""Names of plugins: a word that needs no quotes in YAML, TOML or a shell, and is not an import path."""


@dataclass(slots=True)
class Reading:
    """The entry points of some groups on a path.

    Attributes:
        entries: The valid entry points by group; ``distro`` of each is a `Distribution`.
        problems: Refused, hidden or unreadable entries and files.
        installed: Normalized name -> every distribution on the path, by its folder; the first one wins.
    """

    entries: dict[str, list[entrypoints.EntryPoint]]
    problems: list[Problem] = field(default_factory=list)
    installed: dict[str, Distribution] = field(default_factory=dict)


def read_groups(groups: Collection[str], path: Iterable[object] | None = None) -> Reading:
    """Read entry points of some groups on ``path`` (default: ``sys.path``).

    Each file is read once.
    """
    reading = Reading({group: [] for group in groups})
    offers: dict[str, _Offer] = {}
    for folder in folders(sys.path if path is None else path, reading.problems):
        found: list[Distribution] = []
        with reported(reading.problems, "sys.path", folder):
            found = distributions(folder)
        for distribution in found:
            first = reading.installed.setdefault(distribution.key, distribution)
            # Any error on the files of a distribution is that distribution's problem. Errors of hidden copies do not
            # matter.
            problems = reading.problems if first is distribution else []
            with reported(problems, distribution.name, distribution.location):
                offer = _read_offer(distribution, groups, problems)
                if not offer.targets:
                    continue
                # METADATA is opened only for the few that offer something.
                offer.distribution = with_metadata(distribution)
                if distribution.location.name.startswith("~"):
                    reading.problems.append(_interrupted(offer.distribution))
                elif offer.distribution.key != distribution.key:
                    raise MetadataError(
                        f"names the package {offer.distribution.name}, but its folder is {distribution.name}.",
                        distribution.location,
                    )
                elif first is distribution:
                    offers[distribution.key] = offer
                    _sort_out(offer, reading)
                else:
                    winner = offers.get(distribution.key) or _Offer(first)
                    if not _is_one_install(winner, offer):
                        reading.problems.append(_hidden(offer.distribution, winner.distribution))
    return reading


@dataclass(slots=True)
class _Offer:
    """What one distribution offers: group and name -> target, as written."""

    distribution: Distribution
    targets: dict[tuple[str, str], str] = field(default_factory=dict)
    text: str = ""

    @property
    def file(self) -> Path:
        return cast("Path", self.distribution.location / _FILE)


_FILE = "entry_points.txt"
_MOST = 2 * 2**20
"""Bytes of such a file."""
_MOST_LINES = 20_000
"""Lines of it: configparser takes quadratic time on faulty lines."""


class _Parser(entrypoints.CaseSensitiveConfigParser):  # type: ignore[misc]  # entrypoints has no type information
    """Reads the file literally, without interpolation and default section."""

    def __init__(self) -> None:
        super().__init__(delimiters=("=",), interpolation=None, default_section="\n")


def _read_offer(distribution: Distribution, groups: Collection[str], problems: list[Problem]) -> _Offer:
    offer = _Offer(distribution)
    data = read_file(offer.file, _MOST)
    if data is None:
        return offer
    if b"\0" in data:
        raise MetadataError("holds a NUL byte, so it is not text.", offer.file, _line(data, data.index(b"\0")))
    try:
        offer.text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise MetadataError("is not UTF-8.", offer.file, _line(data, error.start)) from error
    if not any(group in offer.text for group in groups) and _is_plain(offer.text):
        return offer
    parser = _parsed(offer)
    there = [group for group in groups if parser.has_section(group)]
    offer.targets = {(group, name): target for group in there for name, target in parser.items(group)}
    if parser.has_section("DEFAULT"):
        what = "has a [DEFAULT] section, which other tools copy into every group. detloss ignores it. Fix: remove it."
        problems.append(Problem(what, distribution.name, str(offer.file), _lines(offer.text).get(("DEFAULT", None))))
    return offer


def _line(data: bytes, position: int) -> int:
    return data[:position].count(b"\n") + 1


def _is_plain(text: str) -> bool:
    """Tell quickly if a file is well formed, as most are.

    Building a parser for each file would take half of the scan.

    False only means that the parser must read it.
    """
    names = _FIRST_WORDS.findall(text)
    return _PLAIN.fullmatch(text) is not None and len(set(names)) == len(names) and "[DEFAULT]" not in names


_PLAIN = re.compile(r"\s*(?:\[[\w. -]+\]\n+(?:[\w.-]+ *= *\S[^\n]*(?:\n+|\Z))*)*")
"""Sections that hold one-line ``name = value`` and nothing else."""
_FIRST_WORDS = re.compile(r"^(\[[^\n]*\]|[\w.-]+)", re.MULTILINE)


def _parsed(offer: _Offer) -> _Parser:
    parser = _Parser()
    what, line = "", None
    if offer.text.count("\n") > _MOST_LINES:
        raise MetadataError(f"has more than {_MOST_LINES} lines.", offer.file, _MOST_LINES)
    try:
        # The parser takes quadratic time for a run of blanks.
        parser.read_string(re.sub(r"(?<=\S)[^\S\n]{2,}", " ", offer.text))
    except configparser.DuplicateSectionError as error:
        what, line = f"has the section [{clipped(error.section)}] twice.", error.lineno
    except configparser.DuplicateOptionError as error:
        what, line = f"has the name '{clipped(error.option)}' twice.", error.lineno
    except configparser.MissingSectionHeaderError as error:
        what, line = "has a line before its first [section].", error.lineno
    except configparser.ParsingError as error:
        what, line = "has a line that is not `name = module:Class`.", error.errors[0][0] if error.errors else None
    except Exception as error:  # noqa: BLE001 - the parser itself can fail on text that is not an INI file
        what = f"cannot be parsed: {clipped(error)}."
    if what:
        raise MetadataError(what, offer.file, line)
    return parser


def _sort_out(offer: _Offer, reading: Reading) -> None:
    """Sort one distribution's offers into entry points and problems."""
    lines: dict[tuple[str, str | None], int] = {}
    for (group, name), target in offer.targets.items():
        shown = clipped(name)
        try:
            entry = entrypoints.EntryPoint.from_string(target, name, offer.distribution)
        except entrypoints.BadEntryPoint:
            entry = None
        if not NAME_PATTERN.fullmatch(name):
            what = f"the name '{shown}' is refused (expected letters, digits, _ and -, a letter first, at most 64)."
        elif entry is None or not _is_dotted(entry.module_name) or not _is_dotted(entry.object_name):
            what = f"{shown} = '{clipped(target)}' is not a target. Fix: write {shown} = module:Class."
        else:
            reading.entries[group].append(entry)
            continue
        lines = lines or _lines(offer.text)
        where = str(offer.file), lines.get((group, name))
        reading.problems.append(Problem(f"{what} This entry is ignored.", offer.distribution.name, *where))


def _lines(text: str) -> dict[tuple[str, str | None], int]:
    """Return section and key (None for its header) -> line, from 1."""
    lines: dict[tuple[str, str | None], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.fullmatch(r"\[(.+)\]\s*", line):
            section = header[1]
            lines.setdefault((section, None), number)
        else:
            lines.setdefault((section, line.partition("=")[0].strip()), number)
    return lines


def _is_dotted(name: str | None) -> bool:
    return name is not None and all(part.isidentifier() for part in name.split("."))


def _is_one_install(one: _Offer, other: _Offer) -> bool:
    """Tell if two copies belong to one editable install.

    The egg-info next to the source is then not a leftover.
    """
    copies = (one.distribution, other.distribution)
    has_egg = any(copy.location.name.endswith(".egg-info") for copy in copies)
    apart = str(copies[0].location.parent) != str(copies[1].location.parent)
    return has_egg and apart and copies[0].version == copies[1].version and one.targets == other.targets


def _hidden(loser: Distribution, winner: Distribution) -> Problem:
    what = (
        f"{loser.name} {loser.version} is hidden by {winner.name} {winner.version}, which comes first "
        f"({printable(str(winner.location))}), and is ignored. Fix: keep one. Run "
        f"`python -m pip uninstall {winner.name}` until none is left, then install it again."
    )
    return Problem(what, loser.name, str(loser.location))


def _interrupted(distribution: Distribution) -> Problem:
    what = (
        f"is a leftover of {distribution.name.lstrip('~')} from an interrupted pip, and is ignored. Fix: delete this "
        f"folder, then `python -m pip install --force-reinstall` the package if you still want it."
    )
    return Problem(what, distribution.name, str(distribution.location))
