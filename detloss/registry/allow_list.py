"""`DETLOSS_PLUGINS`: the only plugins that may be used.

The variable holds packages and ``package:name``, separated by commas or spaces; `none` allows no plugin. Unset, it
allows every plugin. detloss's own heads are part of the running program and always allowed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from detloss.errors import AllowListError
from detloss.registry.distributions import normalized
from detloss.text import clipped, near, nearest

VARIABLE = "DETLOSS_PLUGINS"
"""The environment variable."""


@dataclass(frozen=True)
class AllowList:
    """What may be used.

    Attributes:
        entries: As written: a package, or ``package:name``. Empty allows nothing but detloss's own heads.
    """

    entries: tuple[str, ...] = ()

    def allows(self, package: str, name: str) -> bool:
        """Tell if an entry names a plugin.

        Packages are compared as pip does, names exactly.
        """
        key = normalized(package)
        return any(_parts(entry) in ((key, ""), (key, name)) for entry in self.entries)

    def check(self, offers: Mapping[str, Collection[str]], installed: Collection[str], faulty: Collection[str]) -> None:
        """Refuse an entry that allows nothing: a typo is not a rule.

        Takes the offers of each package (normalized), all packages, and the packages with unreadable offers. Those are
        reported separately, and their entries are not typos.

        Raises:
            AllowListError: It lists every such entry with similar names.
        """
        wrong = [
            f"'{clipped(entry)}' {what}"
            for entry in self.entries
            if _parts(entry)[0] not in faulty and (what := _mistake(entry, offers, installed))
        ]
        if wrong:
            raise AllowListError(f"{VARIABLE} has unknown entries: {' '.join(wrong)} {_UNTIL_THEN}")


def read_allow_list() -> AllowList | None:
    """Return what `DETLOSS_PLUGINS` allows, or None where it is not set.

    Raises:
        AllowListError: It is set and empty, or has `none` with other entries.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    entries = tuple(filter(None, re.split(r"[,\s]+", text)))
    if not entries:
        raise AllowListError(
            f"{VARIABLE} is set and empty. Fix: unset it to allow every plugin, or write {_NOTHING!r} to allow none."
        )
    if _NOTHING not in entries:
        return AllowList(entries)
    if len(entries) > 1:
        raise AllowListError(
            f"{VARIABLE} has {_NOTHING!r} and other entries: '{clipped(text)}'. Fix: remove one of them. {_UNTIL_THEN}"
        )
    return AllowList()


_NOTHING = "none"
_OURS = "detloss"
_UNTIL_THEN = "Until then no plugin is allowed."


def _parts(entry: str) -> tuple[str, str]:
    package, _, name = entry.partition(":")
    return normalized(package), name


def _mistake(entry: str, offers: Mapping[str, Collection[str]], installed: Collection[str]) -> str:
    """Say what is wrong with an entry, with the fix.

    Empty if nothing is wrong.
    """
    package, name = _parts(entry)
    offered = offers.get(package)
    if offered is None:
        return "" if entry == _OURS else _no_such_package(entry, package, offers, installed)
    if ":" not in entry or name in offered:
        return ""
    close = [f"{package}:{one}" for one in nearest(name, offered)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(sorted(offered))}."
    return f"is not a plugin of {package}: {hint}"


def _no_such_package(
    entry: str, package: str, offers: Mapping[str, Collection[str]], installed: Collection[str]
) -> str:
    owners = sorted(key for key, names in offers.items() if entry in names)
    if owners:
        return f"is a plugin, not a package: write {' or '.join(f'{owner}:{entry}' for owner in owners)}."
    if package in installed:
        return "is installed, but has no loss or head: remove it."
    close = near(package, offers)
    return f"is not installed: {f'did you mean {close}?' if close else 'remove it, or install it.'}"
