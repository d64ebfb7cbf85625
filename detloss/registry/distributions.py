"""What installed distributions say about themselves, read from their folders without importing anything.

Nothing here raises: what is wrong becomes a `Problem` that names the file.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from detloss.text import printable, reason

PACKAGE_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
"""Names of distributions (packaging.python.org, "Names and normalization"); the length is detloss's own bound."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what is installed, or worth knowing.

    Attributes:
        message: What is wrong, and what to do about it.
        who: A package, as its metadata or its folder names it; a library, a plugin's name, a program, a variable.
        path: The file or folder where that is; empty where there is none.
        line: The line in that file, from 1, where one can be named.
        kind: ``"metadata"``, ``"conflict"``, ``"allow-list"``, ``"load"``, ``"slow"``, ``"prints"``, ``"library"`` or
            ``"compiler"``.
        wrong: False for a note: everything works, and it is worth knowing.
    """

    message: str
    who: str
    path: str = ""
    line: int | None = None
    kind: str = "metadata"
    wrong: bool = True

    @property
    def place(self) -> str:
        """``path:line``, or as much of it as there is."""
        return printable(self.path if self.line is None else f"{self.path}:{self.line}")

    def __str__(self) -> str:
        """Place, or else who, and the message: one line."""
        return f"{self.place or self.who}: {self.message}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution: one ``.dist-info`` or ``.egg-info``, in a folder or in a zip archive.

    Attributes:
        name: As its METADATA says, else as its folder is named.
        version: Likewise; empty where neither says.
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
        """The normalised name: distributions with equal keys are copies of one another."""
        return normalized(self.name)


def folders(path: Iterable[object], problems: list[Problem]) -> Iterator[Path | zipfile.Path]:
    """Yield each folder or archive on the path once: links to one folder are one folder."""
    seen = set()
    for entry in path:
        if not isinstance(entry, (str, os.PathLike)):
            continue
        try:
            folder = Path(os.fspath(entry))  # "" is the working directory, as for Python itself
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            if folder.is_dir():
                yield folder
            elif folder.is_file() and zipfile.is_zipfile(folder):
                yield zipfile.Path(folder)
        except Exception as error:  # noqa: BLE001 - archives fail in many ways; none may cost the other folders
            problems.append(
                Problem(f"cannot be read ({reason(error)}), so its packages are left out.", _PATH, str(entry))
            )
        else:
            if not isinstance(entry, str):
                what = (
                    f"is on sys.path as a {type(entry).__name__}, which Python does not import from: add it as a str."
                )
                problems.append(Problem(what, _PATH, str(folder)))


def distributions(folder: Path | zipfile.Path) -> tuple[list[Distribution], list[Problem]]:
    """Return the distributions of one folder, copies of one name side by side and the one in force first."""
    try:
        names = [child.name for child in folder.iterdir()]
    except Exception as error:  # noqa: BLE001 - as in `folders`
        return [], [Problem(f"cannot be listed ({reason(error)}), so its packages are left out.", _PATH, str(folder))]
    found = []
    for entry in names:
        if entry.endswith((".dist-info", ".egg-info")):
            name, version = _split(entry.rpartition(".")[0])
        elif entry == "EGG-INFO":
            name, version = _split(Path(str(folder).rstrip("/")).stem)
        else:
            continue
        found.append(Distribution(printable(name), printable(version), folder / entry))
    # Sorted so that nothing depends on the order of a listing: dist-info before egg-info, then the newest.
    found.sort(key=lambda one: (one.key, one.location.name[-10:] != ".dist-info", _newest_first(one.version), one.name))
    return found, []


def with_metadata(distribution: Distribution) -> Distribution:
    """Return the distribution as its own METADATA (or PKG-INFO) describes it; unchanged where there is none."""
    headers: dict[str, list[str]] = {}
    for name in ("METADATA", "PKG-INFO"):
        try:
            headers = _headers((distribution.location / name).read_bytes().decode("utf-8", "replace"))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            continue
        break
    named = headers.get("name", [""])[0]
    return Distribution(
        name=named if PACKAGE_PATTERN.fullmatch(named) else distribution.name,
        version=printable(headers.get("version", [distribution.version])[0]),
        location=distribution.location,
        summary=printable(headers.get("summary", [""])[0]),
        requires=tuple(headers.get("requires-dist", [])),
    )


def normalized(name: str) -> str:
    """Return the name that pip compares by: lower case, each run of ``-``, ``_`` and ``.`` one ``-``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _split(stem: str) -> tuple[str, str]:
    """Return name and version of ``name-version[-py3.11]``; a name may hold ``-`` where a tool did not escape it."""
    stem = re.sub(r"-py\d[\d.]*$", "", stem)
    name, dash, version = stem.rpartition("-")
    return (name, version) if dash and version[:1].isdigit() else (stem, "")


def _newest_first(version: str) -> list[int]:
    """Return a sort key: 1.10 before 1.9, 1.0.1 before 1.0, and 1.0 before 1.0rc1 (PEP 440, "Version ordering")."""
    release, rest = cast("re.Match[str]", re.match(r"v?(\d*(?:\.\d+)*)([^+]*)", version)).groups()
    numbers = [-int(number) for number in re.findall(r"\d+", release)[:_RELEASE]]
    # What is no post release comes before the release itself, whose 0 at the end stands for no number after it.
    is_early = re.match(r"[-_.]?(?!post|rev|r\d)[a-z]", rest) is not None
    after = [-int(number) for number in re.findall(r"\d+", rest)]
    return [*numbers, *[0] * (_RELEASE - len(numbers)), is_early, *after, 0]


def _headers(text: str) -> dict[str, list[str]]:
    """Return the header fields of a METADATA file, by lower-case name; the description after them is not read."""
    fields: dict[str, list[str]] = {}
    for line in text.lstrip("\ufeff").splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields.setdefault(key.lower(), []).append(value.strip())
    return fields


_PATH = "sys.path"
"""Who is to blame for a folder."""
_RELEASE = 8
"""Numbers of a version that are compared; the rest of a longer one is not."""
