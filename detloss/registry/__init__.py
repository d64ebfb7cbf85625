"""Plugins: found in package metadata, imported when selected.

A `Plugin` is an installed package's claim to a name; `get_plugin` turns it into a `LoadedPlugin`. This module imports
neither torch nor pydantic, and treats every package alike. Nothing is cached between two calls: installing or removing
a package has an effect at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, overload

from detloss.errors import PluginConflictError, PluginNotAllowedError, UnknownPluginError
from detloss.registry.allow_list import VARIABLE
from detloss.registry.distributions import PACKAGE_PATTERN, Problem, normalized
from detloss.registry.entry_points import NAME_PATTERN
from detloss.registry.loading import check_class, load
from detloss.registry.plugin import HEAD_GROUP, LOSS_GROUP, REGISTERED, Group, LoadedPlugin, Plugin
from detloss.registry.scan import Scan, contested, scan
from detloss.text import clipped, near, nearest

if TYPE_CHECKING:
    from detloss.loss import BoxRegressionLoss

__all__ = [
    "HEAD_GROUP",
    "LOSS_GROUP",
    "REGISTERED",
    "Group",
    "LoadedPlugin",
    "Plugin",
    "Problem",
    "Scan",
    "find_plugins",
    "get_plugin",
    "load",
    "one_scan",
    "register",
    "scan",
]

_Loss = TypeVar("_Loss", bound="type[BoxRegressionLoss]")


def find_plugins(group: Group = LOSS_GROUP) -> tuple[Plugin, ...]:
    """Return the plugins of a group, sorted by name, then package.

    Plugins that ``DETLOSS_PLUGINS`` does not allow are excluded.

    Raises:
        AllowListError: ``DETLOSS_PLUGINS`` is wrong.
    """
    with one_scan() as installed:
        if error := installed().allow_list_error:
            raise error
        mine = _registered.values() if group == LOSS_GROUP else ()
        return tuple(sorted([*installed().of(group).plugins, *mine]))


def get_plugin(name: str, group: Group = LOSS_GROUP) -> LoadedPlugin:
    """Load the plugin of this name.

    Args:
        name: The plugin's name, or ``package:name``.
        group: `LOSS_GROUP` or `HEAD_GROUP`.

    Raises:
        UnknownPluginError: No installed plugin has the name; similar names are given and nothing is imported.
        PluginConflictError: More than one package claims the name.
        PluginNotAllowedError: ``DETLOSS_PLUGINS`` does not allow the plugin; it is not imported.
        AllowListError: ``DETLOSS_PLUGINS`` is wrong.
        PluginLoadError: The plugin cannot be imported or is not what it claims to be.
    """
    _check_name(name, group)
    with one_scan() as installed:
        plugins = find_plugins(group)
        claims = _claims(name, plugins)
        if not claims:
            hidden = installed().of(group).left_out
            left_out = _claims(name, hidden)
            raise _not_allowed(left_out) if left_out else _unknown(name, group, plugins, hidden)
        if len(claims) > 1:
            raise _conflict(claims)
        return load(claims[0])


_INSTALLED: ContextVar[Callable[[], Scan] | None] = ContextVar("installed", default=None)


@contextmanager
def one_scan() -> Iterator[Callable[[], Scan]]:
    """Scan the installed packages once for all lookups inside.

    Lookups of plugins count too.

    A wrapper builds its base through the public `detloss.config.build_loss`, which takes no scan. So the scan of the
    outermost call is in a context variable during that call.
    """
    outer = _INSTALLED.get()
    installed = cache(scan) if outer is None else outer
    token = _INSTALLED.set(installed)
    try:
        yield installed
    finally:
        _INSTALLED.reset(token)


@overload
def register(cls: _Loss, name: str | None = None) -> _Loss: ...
@overload
def register(cls: None = None, name: str | None = None) -> Callable[[_Loss], _Loss]: ...
def register(cls: Any = None, name: str | None = None) -> Any:
    """Give a loss class a name in this process.

    This is for notebooks and tests; a package uses an entry point instead.

    Works as a decorator too: ``@register`` and ``@register(name="my_iou")``. The default name is that of the class
    without ``Loss``, in lower case with ``_`` between words. ``IoU`` counts as part of a word like any acronym:
    ``GIoULoss`` is ``giou``, ``AlphaIoULoss`` is ``alpha_iou``, ``SmoothL1Loss`` is ``smooth_l1``. A class of the same
    module and qualified name (a notebook cell that runs again) replaces the earlier one.

    Args:
        cls: The loss.
        name: Its name in configs.

    Returns:
        ``cls`` itself, or a decorator where no class is given.

    Raises:
        PluginConflictError: An installed package, or another class, has the name.
        PluginLoadError: ``cls`` is not a loss.
        UnknownPluginError: ``name`` cannot be a name.
    """
    if cls is None:
        return lambda decorated: register(decorated, name)
    name = _name_of(cls) if name is None else name
    _check_name(name, LOSS_GROUP, qualified=False)
    plugin = Plugin(
        name=name,
        group=LOSS_GROUP,
        package=REGISTERED,
        version="",
        module=getattr(cls, "__module__", ""),
        attribute=getattr(cls, "__qualname__", repr(cls)),
        location="",
        cls=cls,
    )
    check_class(plugin, cls)
    others = [other for other in find_plugins() if other.name == name and other != plugin]
    if others:
        raise _conflict([*others, plugin])
    _registered[name] = plugin
    return cls


_registered: dict[str, Plugin] = {}


def _claims(name: str, plugins: tuple[Plugin, ...]) -> list[Plugin]:
    package, _, bare = name.rpartition(":")
    return [
        plugin
        for plugin in plugins
        if plugin.name == bare and (not package or normalized(plugin.package) == normalized(package))
    ]


def _name_of(cls: object) -> str:
    words = getattr(cls, "__name__", "").removesuffix("Loss").replace("IoU", "IOU")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", words).lower()


def _check_name(name: object, group: Group, *, qualified: bool = True) -> None:
    """Refuse by pattern what cannot be a name, before any lookup."""
    package, colon, bare = name.rpartition(":") if isinstance(name, str) and qualified else ("", "", name)
    if isinstance(bare, str) and NAME_PATTERN.fullmatch(bare) and (not colon or PACKAGE_PATTERN.fullmatch(package)):
        return
    raise UnknownPluginError(
        f"{clipped(ascii(name))} cannot be the name of a {group.kind}: a name has "
        "letters, digits, _ and -, begins with a letter and is at most 64 long (or package:name). It is never an "
        "import path. Fix: choose a name from `detloss list`.",
        name=str(name)[:80],
    )


def _conflict(claims: list[Plugin]) -> PluginConflictError:
    name = claims[0].name
    return PluginConflictError(f"The {claims[0].group.kind} {name!r} {contested(claims)}", name=name)


def _not_allowed(claims: list[Plugin]) -> PluginNotAllowedError:
    kind, name = claims[0].group.kind, claims[0].name
    owners = " and ".join(plugin.owner for plugin in claims)
    choices = " or ".join(f"{plugin.full_name} (or {plugin.package}, for all of it)" for plugin in claims)
    return PluginNotAllowedError(
        f"The {kind} {name!r} of {owners} is installed, but {VARIABLE}='{clipped(os.environ.get(VARIABLE))}' does not "
        f"allow it. It was not imported. Fix: add {choices} to {VARIABLE}.",
        name=name,
        package=claims[0].package,
    )


def _unknown(name: str, group: Group, plugins: tuple[Plugin, ...], left_out: tuple[Plugin, ...]) -> UnknownPluginError:
    package, _, bare = name.rpartition(":")
    by_package: dict[str, list[str]] = {}
    for plugin in plugins:
        by_package.setdefault(normalized(plugin.package), []).append(plugin.name)
    by_name = {plugin.name.lower(): plugin.name for plugin in plugins}
    hints = []
    if offered := by_package.get(normalized(package or bare)):
        hints.append(f"The package {package or bare} offers {', '.join(offered)}.")
    elif package:
        close = nearest(normalized(package), by_package)
        or_near = f"; similar names: {', '.join(close)}" if close else ""
        hints.append(f"No installed package {package!r} offers one{or_near}.")
    if names := [by_name[key] for key in nearest(bare.lower(), by_name)]:
        hints.append(f"Did you mean {' or '.join(map(repr, names))}?")
    elif not hints and (owner := near(normalized(bare), by_package)):
        hints.append(f"There is a package {owner!r}, which offers {', '.join(by_package[owner])}.")
    if plugins:
        count = len(by_name)
        option = "" if group == LOSS_GROUP else " --heads"
        hints.append(f"`detloss list{option}` shows the {count} installed {'name' if count == 1 else 'names'}.")
    elif left_out:
        hints.append(f"{VARIABLE} excludes all that are installed. `detloss list --json` shows them.")
    elif group == LOSS_GROUP:
        hints.append("No loss is installed. Fix: install a package of losses, such as detloss-iou.")
    return UnknownPluginError(
        f"There is no {group.kind} {name!r}. {' '.join(hints)}", name=name, package=package or None
    )
