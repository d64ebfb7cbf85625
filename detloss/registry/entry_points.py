"""Entry points of installed distributions, read with `entrypoints` one file at a time.

Each distribution's own ``entry_points.txt`` is parsed by itself, so that a faulty file costs that distribution's
entries and no others. Nothing here imports a plugin or raises: what is wrong becomes a `Problem` that names the file
and the line.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import entrypoints

from detloss.registry.distributions import Distribution, Problem, distributions, folders, with_metadata
from detloss.text import clipped, printable, reason

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""What a plugin may be called: a word that needs no quotes in YAML, TOML or a shell, and is no import path."""


@dataclass(slots=True)
class Reading:
    """What the distributions on a path say about some groups.

    Attributes:
        entries: The valid entry points by group; ``distro`` of each is a `Distribution`.
        problems: What was refused, hidden or unreadable.
        installed: Normalised name -> every distribution on the path, named as its folder is; the first one wins.
    """

    entries: dict[str, list[entrypoints.EntryPoint]]
    problems: list[Problem] = field(default_factory=list)
    installed: dict[str, Distribution] = field(default_factory=dict)


def read_groups(groups: Collection[str], path: Iterable[object] | None = None) -> Reading:
    """Read the entry points of some groups of all distributions on ``path`` (default: ``sys.path``), each file once."""
    reading = Reading({group: [] for group in groups})
    owners: dict[str, _Offer] = {}
    for folder in folders(sys.path if path is None else path, reading.problems):
        found, problems = distributions(folder)
        reading.problems += problems
        for distribution in found:
            first = reading.installed.setdefault(distribution.key, distribution)
            try:
                offer = _read_offer(distribution, groups)
            except _MalformedError as error:
                if first is distribution:
                    reading.problems.append(error.problem(distribution))
                continue
            if first is distribution:
                reading.problems += offer.problems
            if not offer.targets:
                continue
            # METADATA is opened for the few that offer something, not for every package there is.
            offer.distribution = with_metadata(distribution)
            key = offer.distribution.key
            if distribution.location.name.startswith("~"):
                reading.problems.append(_interrupted(offer.distribution))
            elif first is distribution and key not in owners:
                owners[key] = offer
            else:
                winner = owners.get(key) or _Offer(with_metadata(first))
                if not _is_one_install(winner, offer):
                    reading.problems.append(_hidden(offer.distribution, winner.distribution))
    for offer in owners.values():
        _sort_out(offer, reading)
    return reading


@dataclass(slots=True)
class _Offer:
    """What one distribution offers: group and name -> target, as written in the text of its file."""

    distribution: Distribution
    targets: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    text: str = ""


class _MalformedError(Exception):
    """An ``entry_points.txt`` that cannot be read as a whole."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.line = line

    def problem(self, distribution: Distribution) -> Problem:
        advice = f"The package offers nothing until this is mended: tell its authors, or reinstall {distribution.name}."
        return Problem(f"{self} {advice}", distribution.name, str(distribution.location / _FILE), self.line)


_FILE = "entry_points.txt"


class _Parser(entrypoints.CaseSensitiveConfigParser):  # type: ignore[misc]  # entrypoints has no type information
    """Reads what is literally in the file: no interpolation, and no section whose keys enter the others."""

    def __init__(self) -> None:
        super().__init__(delimiters=("=",), interpolation=None, default_section="\n")


def _read_offer(distribution: Distribution, groups: Collection[str]) -> _Offer:
    offer = _Offer(distribution)
    try:
        data = (distribution.location / _FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return offer
    except Exception as error:
        # A zip archive fails in many ways; none of them may cost the other packages.
        raise _MalformedError(f"cannot be read: {reason(error)}.") from error
    offer.text = _decoded(data)
    if not any(group in offer.text for group in groups) and _is_plain(offer.text):
        return offer
    parser = _parsed(offer.text)
    there = [group for group in groups if parser.has_section(group)]
    offer.targets = {(group, name): target for group in there for name, target in parser.items(group)}
    if parser.has_section("DEFAULT"):
        what = "has a [DEFAULT] section, which other tools copy into every group; detloss reads none of it. Remove it."
        line = _line_of(offer.text, "DEFAULT")
        offer.problems.append(Problem(what, distribution.name, str(distribution.location / _FILE), line))
    return offer


def _decoded(data: bytes) -> str:
    if b"\0" in data:
        raise _MalformedError("holds a NUL byte, so it is no text.", data[: data.index(b"\0")].count(b"\n") + 1)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise _MalformedError("is not UTF-8.", data[: error.start].count(b"\n") + 1) from error


def _is_plain(text: str) -> bool:
    """Tell quickly that a file is well formed, as nearly all are: building a parser for each takes half of a scan.

    False means no more than that the parser must look at it.
    """
    names = _FIRST_WORDS.findall(text)
    return _PLAIN.fullmatch(text) is not None and len(set(names)) == len(names) and "[DEFAULT]" not in names


_PLAIN = re.compile(r"\s*(?:\[[\w. -]+\]\n+(?:[\w.-]+ *= *\S[^\n]*(?:\n+|\Z))*)*")
"""Sections that hold one-line ``name = value`` and nothing else."""
_FIRST_WORDS = re.compile(r"^(\[[^\n]*\]|[\w.-]+)", re.MULTILINE)


def _parsed(text: str) -> _Parser:
    parser = _Parser()
    try:
        parser.read_string(text)
    except configparser.DuplicateSectionError as error:
        raise _MalformedError(f"has the section [{clipped(error.section)}] twice.", error.lineno) from error
    except configparser.DuplicateOptionError as error:
        raise _MalformedError(f"has the name '{clipped(error.option)}' twice.", error.lineno) from error
    except configparser.MissingSectionHeaderError as error:
        raise _MalformedError("has a line before its first [section].", error.lineno) from error
    except configparser.ParsingError as error:
        line = error.errors[0][0] if error.errors else None
        raise _MalformedError("has a line that is no `name = module:Class`.", line) from error
    except Exception as error:
        # The parser itself can fail on text that is no INI file at all.
        raise _MalformedError(f"cannot be parsed: {clipped(error)}.") from error
    return parser


def _sort_out(offer: _Offer, reading: Reading) -> None:
    """Sort what one distribution offers into entry points and problems, one by one."""
    for (group, name), target in offer.targets.items():
        shown = clipped(name)
        try:
            entry = entrypoints.EntryPoint.from_string(target, name, offer.distribution)
        except entrypoints.BadEntryPoint:
            entry = None
        if not NAME_PATTERN.fullmatch(name):
            what = f"the name '{shown}' is refused: letters, digits, _ and -, a letter first, at most 64."
        elif entry is None or not _is_dotted(entry.module_name) or not _is_dotted(entry.object_name):
            what = f"{shown} = '{clipped(target)}' is no target: write {shown} = module:Class."
        else:
            reading.entries[group].append(entry)
            continue
        distribution = offer.distribution
        where = str(distribution.location / _FILE)
        line = _line_of(offer.text, group, name)
        reading.problems.append(Problem(f"{what} This entry is left out.", distribution.name, where, line))


def _line_of(text: str, group: str, name: str | None = None) -> int | None:
    """Return the line, from 1, on which the section ``group`` begins, or has the key ``name``."""
    section = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.fullmatch(r"\[(.+)\]\s*", line):
            section = header[1]
            if name is None and section == group:
                return number
        elif section == group and line.partition("=")[0].strip() == name:
            return number
    return None


def _is_dotted(name: str | None) -> bool:
    return name is not None and all(part.isidentifier() for part in name.split("."))


def _is_one_install(one: _Offer, other: _Offer) -> bool:
    """Tell whether two copies are the halves of one editable install: the egg-info beside the source is no ghost."""
    copies = (one.distribution, other.distribution)
    has_egg = any(copy.location.name.endswith(".egg-info") for copy in copies)
    apart = str(copies[0].location.parent) != str(copies[1].location.parent)
    return has_egg and apart and copies[0].version == copies[1].version and one.targets == other.targets


def _hidden(loser: Distribution, winner: Distribution) -> Problem:
    what = (
        f"{loser.name} {loser.version} is hidden by {winner.name} {winner.version}, which comes first "
        f"({printable(str(winner.location))}); what it offers is left out. Keep one: "
        f"`python -m pip uninstall {winner.name}` until none is left, then install it again."
    )
    return Problem(what, loser.name, str(loser.location))


def _interrupted(distribution: Distribution) -> Problem:
    what = (
        f"is what an interrupted pip left of {distribution.name.lstrip('~')}; what it offers is left out. Delete this "
        f"folder, then `python -m pip install --force-reinstall` the package if it is still wanted."
    )
    return Problem(what, distribution.name, str(distribution.location))
