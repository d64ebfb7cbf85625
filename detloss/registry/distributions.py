"""Reads installed distributions from their folders without importing anything.

What is wrong becomes a `Problem` that names the file, by `reported`.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from detloss.text import clipped, printable, reason

PACKAGE_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
"""Names of distributions (packaging.python.org, "Names and normalization"); the length limit is detloss's own."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of what is installed, or a note.

    Attributes:
        message: What is wrong, and the fix.
        who: A package (by its metadata or folder), library, plugin, program or variable.
        path: The file or folder of the problem; empty if it has none.
        line: The line in that file, from 1, if known.
        kind: ``"metadata"``, ``"conflict"``, ``"allow-list"``, ``"load"``, ``"slow"``, ``"prints"``, ``"library"`` or
            ``"compiler"``.
        wrong: False for a note: everything works.
    """

    message: str
    who: str
    path: str = ""
    line: int | None = None
    kind: str = "metadata"
    wrong: bool = True

    @property
    def place(self) -> str:
        """``path:line``, as far as known."""
        return printable(self.path if self.line is None else f"{self.path}:{self.line}")

    def __str__(self) -> str:
        """One line: the place (or who), and the message."""
        return f"{self.place or self.who}: {self.message}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution: a ``.dist-info`` or ``.egg-info``.

    It is in a folder or in a zip archive.

    Attributes:
        name: Its name in METADATA, else its folder's name.
        version: From the same sources; empty if unknown.
        location: The ``.dist-info`` or ``.egg-info`` itself.
        summary: Its one-line description.
        requires: Its ``Requires-Dist`` lines.
    """

    name: str
    version: str
    location: Path | zipfile.Path
    summary: str = ""
    requires: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The normalized name: distributions with equal keys are copies."""
        return normalized(self.name)


@contextmanager
def reported(problems: list[Problem], who: str, path: object) -> Iterator[None]:
    """Turn anything raised in this block into a problem.

    Libraries fail in many ways on foreign files.
    """
    try:
        yield
    except MetadataError as error:
        advice = f"The package offers nothing until this is fixed. Fix: reinstall {who}, or tell its authors."
        problems.append(Problem(f"{error} {advice}", who, str(error.file), error.line))
    except Exception as error:  # noqa: BLE001 - as the docstring says
        what = f"cannot be read ({type(error).__name__}: {reason(error)}), so what it offers is ignored."
        problems.append(Problem(what, who, str(path)))


class MetadataError(Exception):
    """A metadata file cannot be used at all."""

    def __init__(self, what: str, file: object, line: int | None = None) -> None:
        super().__init__(what)
        self.file, self.line = file, line


def read_file(file: Path | zipfile.Path, most: int) -> bytes | None:
    """Read a file of a package; None if it is missing.

    It may be in an archive. Pipes and devices are not opened.

    Raises:
        MetadataError: It is not a regular file, has more than ``most`` bytes, or cannot be read.
    """
    try:
        return _bytes(file, most)
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return None
    except Exception as error:
        raise MetadataError(f"cannot be read: {reason(error)}.", file) from error


def _bytes(file: Path | zipfile.Path, most: int) -> bytes:
    if isinstance(file, zipfile.Path):
        with file.open("rb") as stream:
            data: bytes = stream.read(most + 1)
    elif not stat.S_ISREG(file.stat().st_mode):
        raise OSError("it is not a regular file")
    else:
        # Some files of /proc are regular, but never end or wait.
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAITING)) as stream:
            data = stream.read(most + 1)
    if len(data) > most:
        raise OSError(f"it has more than {most // 1024} KiB")
    return data


def folders(path: Iterable[object], problems: list[Problem]) -> Iterator[Path | zipfile.Path]:
    """Yield each folder or archive on the path, links only once."""
    seen = set()
    for entry in path:
        if not isinstance(entry, (str, os.PathLike)):
            continue
        with reported(problems, _PATH, entry):
            folder = Path(os.fspath(entry))  # "" is the working directory, as for Python itself
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            if not isinstance(entry, str):
                what = f"is a {type(entry).__name__} on sys.path, and Python ignores it. Fix: add a str."
                problems.append(Problem(what, _PATH, str(folder)))
            if folder.is_dir():
                yield folder
            elif folder.is_file() and zipfile.is_zipfile(folder):
                archive = zipfile.ZipFile(folder)
                if any(len(name) > _LONGEST_NAME for name in archive.NameToInfo):
                    raise OSError(f"it holds a name of more than {_LONGEST_NAME} characters")
                yield zipfile.Path(archive)


def distributions(folder: Path | zipfile.Path) -> list[Distribution]:
    """Return the distributions of one folder, each name's active copy first."""
    found = []
    for entry in [child.name for child in folder.iterdir()]:
        if entry.endswith((".dist-info", ".egg-info")):
            name, version = _split(entry.rpartition(".")[0])
        elif entry == "EGG-INFO":
            name, version = _split(Path(str(folder).rstrip("/")).stem)
        else:
            continue
        found.append(Distribution(printable(name), printable(version), folder / entry))
    # Sorted because listings have no fixed order: dist-info before egg-info, then the newest.
    found.sort(key=lambda one: (one.key, one.location.name[-10:] != ".dist-info", _newest_first(one.version), one.name))
    return found


def with_metadata(distribution: Distribution) -> Distribution:
    """Return the distribution with the data of its METADATA or PKG-INFO.

    Unchanged without such a file.

    Raises:
        MetadataError: The file cannot be read.
    """
    data = read_file(distribution.location / "METADATA", _MOST_METADATA)
    if data is None:
        data = read_file(distribution.location / "PKG-INFO", _MOST_METADATA) or b""
    headers = _headers(data.decode("utf-8", "replace"))
    named = headers.get("name", [""])[0]
    return Distribution(
        name=named if PACKAGE_PATTERN.fullmatch(named) else distribution.name,
        version=clipped(headers.get("version", [distribution.version])[0]),
        location=distribution.location,
        summary=printable(headers.get("summary", [""])[0]),
        requires=tuple(headers.get("requires-dist", [])),
    )


@lru_cache(maxsize=10_000)  # a process that looks plugins up again reads the same names
def normalized(name: str) -> str:
    """Return the name that pip compares by.

    It is lower case, with one ``-`` for each run of ``-``, ``_`` and ``.``.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=10_000)
def _split(stem: str) -> tuple[str, str]:
    """Return name and version of ``name-version[-py3.11]``.

    A name may hold ``-`` if a tool did not escape it.
    """
    stem = re.sub(r"-py\d[\d.]*$", "", stem)
    name, dash, version = stem.rpartition("-")
    return (name, version) if dash and version[:1].isdigit() else (stem, "")


@lru_cache(maxsize=10_000)
def _newest_first(version: str) -> list[int]:
    """Return a sort key of versions, newest first (PEP 440).

    1.10 comes before 1.9, 1.0.1 before 1.0, and 1.0 before 1.0rc1.
    """
    release, rest = cast("re.Match[str]", re.match(r"v?(\d*(?:\.\d+)*)([^+]*)", version)).groups()
    numbers = [-int(number) for number in re.findall(r"\d+", release)[:_RELEASE]]
    # Pre-releases sort before the release itself; the 0 at its end means that no number follows.
    is_early = re.match(r"[-_.]?(?!post|rev|r\d)[a-z]", rest) is not None
    after = [-int(number) for number in re.findall(r"\d+", rest)]
    return [*numbers, *[0] * (_RELEASE - len(numbers)), is_early, *after, 0]


def _headers(text: str) -> dict[str, list[str]]:
    """Return the header fields of a METADATA file, by lower-case name.

    The description after them is not read.
    """
    fields: dict[str, list[str]] = {}
    for line in text.lstrip("\ufeff").splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields.setdefault(key.lower(), []).append(value.strip())
    return fields


_MOST_METADATA = 2**20
"""Bytes of a METADATA file: its headers and a README."""
_LONGEST_NAME = 500
"""Characters of a name in an archive: listing its folders takes quadratic time."""
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)
_PATH = "sys.path"
"""Who a problem of a folder belongs to."""
_RELEASE = 8
"""Numbers of a version that are compared; the rest of a longer one is not."""
