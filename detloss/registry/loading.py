"""Imports a plugin's class and checks it.

Every failure is a `PluginLoadError` that names the package.
"""

from __future__ import annotations

import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

from detloss._version import __version__
from detloss.errors import PluginLoadError
from detloss.registry.hosts import host_of
from detloss.registry.plugin import HEAD_GROUP, LoadedPlugin, Plugin
from detloss.registry.requirements import unmet
from detloss.text import nearest, one_line, printable

NOT_IMPORTED = "It was not imported."
"""Part of the error on a package that was built for another detloss."""


def load(plugin: Plugin) -> LoadedPlugin:
    """Import and check the class of a plugin.

    Raises:
        PluginLoadError: The package was built for another detloss, its import fails in any way (``SystemExit`` too),
            or the target is missing or not such a class.
    """
    if plugin.cls is not None:  # registered in this process, and checked then
        return LoadedPlugin(plugin, plugin.cls)
    _check_requirement(plugin)
    # SystemExit too: a plugin that calls sys.exit must not end the program silently.
    with blamed(plugin, "its import"):
        module = import_module(plugin.module)
    with blamed(plugin, "its class", PluginLoadError):
        target = _attribute(plugin, module)
        check_class(plugin, target)
    return LoadedPlugin(plugin, target)


def check_class(plugin: Plugin, target: Any) -> None:
    """Refuse a target that is not a complete class of its group.

    Raises:
        PluginLoadError: It says what was found and what is missing.
    """
    home, _, name = plugin.group.interface.partition(":")
    interface = getattr(import_module(home), name)
    public = f"{home}.{name}".replace("detloss.loss.", "detloss.")
    if not isinstance(target, type):
        what = f"a {type(target).__name__}" if callable(target) else f"an instance of {type(target).__name__}"
        raise load_error(plugin, f"its target is wrong (found {what}, expected a class derived from {public}).")
    cls: Any = target
    if not issubclass(cls, interface):
        bases = ", ".join(base.__name__ for base in target.__bases__)
        promised = sorted(getattr(interface, "__abstractmethods__", ()))
        missing = [method for method in promised if not hasattr(target, method)]
        and_lacks = f" and lacks {', '.join(missing)}" if missing else ""
        raise load_error(
            plugin,
            f"its target is the class {target.__qualname__}({bases}), which does not derive from {public}{and_lacks}. "
            f"Fix: write `class {target.__name__}({name}):`.",
        )
    if flaw := cls.plugin_flaw(plugin.name):
        raise load_error(plugin, f"{cls.__qualname__} {flaw}")


@contextmanager
def blamed(plugin: Plugin, doing: str, *passing: type[Exception]) -> Iterator[None]:
    """Turn what a plugin raises here into an error naming it.

    ``SystemExit`` is included.

    ``doing`` is the subject of the error: ``raised ZeroDivisionError`` follows it. Errors in ``passing`` pass.

    Raises:
        PluginLoadError: It raised anything else except KeyboardInterrupt.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, *passing)):
            raise
        raise load_error(plugin, failure(plugin, error, doing)) from error


def failure(plugin: Plugin, error: BaseException, doing: str = "its import") -> str:
    """Say why a plugin's code failed, where, and the fix."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if f"{plugin.module}.".startswith(f"{error.name}."):
            return (
                f"its module {plugin.module!r} is missing.{_near_modules(error.name)} Fix: reinstall {plugin.package}."
            )
        return (
            f"{doing} needs the module {error.name!r}, which is not installed{_place(plugin, error)}. Fix: install it. "
            f"`python -m pip install --upgrade {plugin.package}` installs what the package declares."
        )
    if any(_module_of(frame).startswith("importlib.metadata") for frame, _ in traceback.walk_tb(error.__traceback__)):
        return (
            f"{doing} reads the metadata of all installed packages, and one of them is faulty "
            f"({type(error).__name__}: {_said(error)}){_place(plugin, error)}. Fix: `detloss list` shows its file."
        )
    if isinstance(error, SystemExit):
        what = f"{doing} ended the program with sys.exit({_said(error.code, repr)})"
    else:
        text = _said(error)
        what = f"{doing} raised {type(error).__name__}{f': {text}' if text else ''}"
    return f"{what}{_place(plugin, error)}. Fix: this is a fault of the package; tell its authors or uninstall it."


def load_error(plugin: Plugin, what: str) -> PluginLoadError:
    """Return the error of an unusable plugin; ``what`` follows ``cannot be used:``."""
    return PluginLoadError(
        printable(f"The {plugin.group.kind} {plugin.name!r} of {plugin.owner} cannot be used: {what}"),
        name=plugin.name,
        package=plugin.package,
    )


def _check_requirement(plugin: Plugin) -> None:
    """Refuse a package built for another detloss or host before its import."""
    requires = () if plugin.distribution is None else plugin.distribution.requires
    ours = [line for line in requires if line.lower().startswith("detloss")]
    # Packages of losses may require one another: only detloss is compared here, `list` reports the rest.
    for requirement, version, _ in unmet(ours, {"detloss": __version__}):
        if version is not None:
            raise load_error(
                plugin,
                f"it requires {requirement}, but this is detloss {version}. {NOT_IMPORTED} "
                f"Fix: install matching versions: `python -m pip install --upgrade {plugin.package} detloss`.",
            )
    host = host_of(plugin) if plugin.group == HEAD_GROUP else None
    if host is not None and not host.supported:
        raise load_error(
            plugin,
            f"it is for {host.requirement}, but {host.name} {host.installed} is installed. {NOT_IMPORTED} "
            f"Fix: `python -m pip install '{host.requirement}'`, or install another version of {plugin.package}.",
        )


_LONGEST = 500
"""Characters of a plugin's own error that are shown: some have megabytes."""


def _said(value: object, words: Callable[[object], str] = str) -> str:
    """Return a plugin's text on one line, escaped and cut.

    Empty if its ``__str__`` fails.
    """
    try:
        return one_line(words(value), _LONGEST)
    except Exception:  # noqa: BLE001 - the plugin's own `__str__` may do anything
        return ""


def _place(plugin: Plugin, error: BaseException) -> str:
    """Return the error's deepest place inside the plugin's own package."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", at {printable(error.filename)}:{error.lineno}"
    top = plugin.module.partition(".")[0]
    places = [
        f", at {printable(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _module_of(frame).partition(".")[0] == top
    ]
    return places[-1] if places else ""


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _near_modules(missing: str) -> str:
    """Name similar modules in the package of a missing one."""
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and path is None:
        return ""
    near = nearest(last, [module.name for module in pkgutil.iter_modules(path)])
    return f" Similar names: {', '.join(f'{parent}.{name}'.lstrip('.') for name in near)}." if near else ""


def _attribute(plugin: Plugin, module: ModuleType) -> object:
    found: Any = module
    for part in plugin.attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            near = nearest(part, [name for name in dir(found) if not name.startswith("_")])
            hint = f" Similar names: {', '.join(near)}." if near else ""
            raise load_error(
                plugin, f"{plugin.module} has no {plugin.attribute!r}.{hint} Fix: update or reinstall {plugin.package}."
            ) from error
    return found
