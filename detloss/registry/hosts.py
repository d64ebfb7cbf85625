"""The libraries that heads are for, and which versions of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from detloss.registry.distributions import normalized
from detloss.registry.plugin import Plugin
from detloss.registry.requirements import unmet
from detloss.text import clipped, printable


@dataclass(frozen=True)
class Host:
    """The library that a head is for.

    Attributes:
        name: Of its distribution.
        requirement: What the head's package requires of it, with versions: ``transformers<5.25,>=5.24``.
        installed: The installed version; empty if there is none, or it is unknown.
        supported: Whether that version fits, as far as is known.
    """

    name: str
    requirement: str
    installed: str
    supported: bool


def host_of(plugin: Plugin) -> Host | None:
    """Return the library that a head is for, if it says so."""
    name = plugin.host
    if not name or plugin.distribution is None:
        return None
    installed = installed_version(name)
    lines = [line for line in plugin.distribution.requires if _is_about(line, name)]
    wrong = next(unmet(lines, {normalized(name): installed}), None) if installed else None
    return Host(name, printable(lines[0].partition(";")[0].strip()) if lines else name, installed, wrong is None)


def installed_version(package: str) -> str:
    """Return an installed package's version without importing it, or an empty text."""
    try:
        return clipped(metadata.version(package))
    except Exception:  # noqa: BLE001 - foreign metadata fails in many ways; other findings report it
        return ""


def _is_about(line: str, name: str) -> bool:
    written = normalized(line)
    wanted = normalized(name)
    return written.startswith(wanted) and not written[len(wanted) :][:1].isalnum() and written[len(wanted) :][:1] != "-"
