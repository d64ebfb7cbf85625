"""Import a plugin's class and check it. Whatever goes wrong is a `PluginLoadError` that names the package."""

from __future__ import annotations

import inspect
import math
import pkgutil
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

from detloss.discovery import LOSS_GROUP, Plugin
from detloss.errors import PluginLoadError
from detloss.metadata import printable, unmet

NOT_IMPORTED = "Nothing of it was imported."
"""What the error says of a package that was built for another detloss."""


def load_class(plugin: Plugin) -> Any:
    """Import the target of a plugin.

    Raises:
        PluginLoadError: The package was built for another detloss, its import fails, or the target is missing or is
            not what the group promises.
    """
    _check_requirement(plugin)
    try:
        module = import_module(plugin.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit is no `Exception`, and a plugin that calls sys.exit must not end the program without a word.
        raise load_error(plugin, import_failure(plugin, error)) from error
    target = _attribute(plugin, module)
    (check_loss_class if plugin.group == LOSS_GROUP else _check_head_class)(plugin, target)
    return target


def check_loss_class(plugin: Plugin, target: object) -> None:
    """Refuse a target that is not a complete loss with a strict Config.

    Raises:
        PluginLoadError: With what was found and what is missing.
    """
    from detloss.loss import BoxRegressionLoss  # noqa: PLC0415 - it imports torch

    if not isinstance(target, type):
        what = f"an instance of {type(target).__name__}" if not callable(target) else f"a {type(target).__name__}"
        raise load_error(plugin, f"its target is {what}, and must be a class derived from detloss.BoxRegressionLoss.")
    if not issubclass(target, BoxRegressionLoss):
        bases = ", ".join(base.__name__ for base in target.__bases__)
        missing = [name for name in ("space", "Config", "forward") if not hasattr(target, name)]
        and_lacks = f" and lacks {', '.join(missing)}" if missing else ""
        raise load_error(
            plugin,
            f"its target is the class {target.__qualname__}({bases}), which does not derive from "
            f"detloss.BoxRegressionLoss{and_lacks}. "
            f"Write `class {target.__name__}(BoxRegressionLoss):`.",
        )
    if inspect.isabstract(target):
        missing = sorted(target.__abstractmethods__)
        raise load_error(plugin, f"{target.__qualname__} is abstract: it lacks {', '.join(missing)}.")
    if lax := _laxness(target.Config):
        raise load_error(
            plugin,
            f"{target.__qualname__}.Config {lax}, so that a mistake in a config would pass unseen. Derive it from "
            "detloss.LossConfig and leave its settings as they are.",
        )


def import_failure(plugin: Plugin, error: BaseException) -> str:
    """Say why the import of a plugin failed, where in its own package, and what to do."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if f"{plugin.module}.".startswith(f"{error.name}."):
            return f"its module {plugin.module!r} is not there.{_near_modules(error.name)} Reinstall {plugin.package}."
        return (
            f"its import needs the module {error.name!r}, which is not installed{_place(plugin, error)}. Install what "
            f"brings it: `python -m pip install --upgrade {plugin.package}` installs what the package declares."
        )
    if any(_module_of(frame).startswith("importlib.metadata") for frame, _ in traceback.walk_tb(error.__traceback__)):
        return (
            f"its import reads the metadata of all installed packages, and one of them is faulty "
            f"({type(error).__name__}: {_said(error)}){_place(plugin, error)}. `detloss list` names its file."
        )
    if isinstance(error, SystemExit):
        what = f"its import ended the program with sys.exit({_said(error.code, repr)})"
    else:
        text = _said(error)
        what = f"its import raised {type(error).__name__}{f': {text}' if text else ''}"
    return (
        f"{what}{_place(plugin, error)}. The fault is the package's: tell its authors, or uninstall {plugin.package}."
    )


def load_error(plugin: Plugin, what: str) -> PluginLoadError:
    """Return the error that says why a plugin cannot be used, in words that go on from ``cannot be used:``."""
    kind = "loss" if plugin.group == LOSS_GROUP else "head"
    whose = f"{plugin.package} {plugin.version}".strip()
    return PluginLoadError(
        f"The {kind} {plugin.name!r} of {whose} cannot be used: {what}", name=plugin.name, package=plugin.package
    )


def _check_head_class(plugin: Plugin, target: object) -> None:
    """Refuse a target that is no head adapter of the name that it is installed under."""
    from detloss.heads.base import HeadAdapter  # noqa: PLC0415 - it imports torch

    if not (isinstance(target, type) and issubclass(target, HeadAdapter)):
        what = f"the class {target.__qualname__}" if isinstance(target, type) else f"a {type(target).__name__}"
        raise load_error(
            plugin, f"its target is {what}, and must be a class derived from detloss.heads.base.HeadAdapter."
        )
    if missing := [name for name in ("head_name", "adapts") if not hasattr(target, name)]:
        raise load_error(plugin, f"{target.__qualname__} does not say {' and '.join(missing)}.")
    if target.head_name != plugin.name:
        raise load_error(
            plugin,
            f"{target.__qualname__}.head_name is {target.head_name!r}. Write the name of the entry point there: a "
            "config, `eject` and recommended weights all mean the same name.",
        )


def _check_requirement(plugin: Plugin) -> None:
    """Refuse before the import a package that says it was built for another detloss."""
    from detloss import __version__  # noqa: PLC0415 - the package imports this module

    requires = () if plugin.distribution is None else plugin.distribution.requires
    ours = [line for line in requires if line.lower().startswith("detloss")]
    # Packages that offer losses may require one another: only what is compared here counts, the rest `list` reports.
    for requirement, version in unmet(ours, {"detloss": __version__}):
        if version is not None:
            raise load_error(
                plugin,
                f"it requires {requirement}, and this is detloss {version}. {NOT_IMPORTED} "
                f"Install versions that fit: `python -m pip install --upgrade {plugin.package} detloss`.",
            )


_LONGEST = 500
"""Characters of a plugin's own error that are shown: one may have megabytes."""


def _said(value: object, words: Callable[[object], str] = str) -> str:
    """Return the words of an object of a plugin's on one line, escaped and cut; nothing where it fails to find any."""
    try:
        text = printable(" ".join(words(value).split()))
    except Exception:  # noqa: BLE001 - a `__str__` of the plugin's own may do anything
        return ""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _place(plugin: Plugin, error: BaseException) -> str:
    """Return the deepest place inside the plugin's own package on the way to the error."""
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
    """Name the modules that are spelled nearly like the missing one, in the same package."""
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and path is None:
        return ""
    near = get_close_matches(last, [module.name for module in pkgutil.iter_modules(path)])
    return f" Near names: {', '.join(f'{parent}.{name}'.lstrip('.') for name in near)}." if near else ""


def _attribute(plugin: Plugin, module: ModuleType) -> object:
    found: Any = module
    for part in plugin.attribute.split("."):
        try:
            found = getattr(found, part)
        except KeyboardInterrupt:
            raise
        except AttributeError as error:
            near = get_close_matches(part, [name for name in dir(found) if not name.startswith("_")])
            hint = f" Near names: {', '.join(near)}." if near else ""
            raise load_error(
                plugin, f"{plugin.module} has no {plugin.attribute!r}.{hint} Update or reinstall {plugin.package}."
            ) from error
        except BaseException as error:  # a module's own __getattr__ may do anything
            raise load_error(plugin, import_failure(plugin, error)) from error
    return found


def _laxness(config: Any) -> str:
    """Say what a Config lets through that it must refuse; empty where it is strict.

    It is tried, not looked up: settings, field options and validators all have a say.
    """
    if "extra_forbidden" not in _refusals(config, {_NO_FIELD: 1}, _NO_FIELD):
        return "accepts keys that it does not have"
    for name, field in config.model_fields.items():
        key = field.validation_alias if isinstance(field.validation_alias, str) else name
        for value in (math.nan, math.inf):
            if not _refusals(config, {key: value}, key):
                return f"accepts {value} for {name!r}"
    if not config.model_config.get("frozen"):
        return "can be changed after it is made"
    return ""


_NO_FIELD = "no_such_parameter"


def _refusals(config: Any, values: dict[str, object], key: str) -> list[str]:
    """Return the kinds of error that ``key`` gets; other keys may be missing, which is not at issue here."""
    from pydantic import ValidationError  # noqa: PLC0415 - the loss interface has loaded it already

    try:
        config.model_validate(values)
    except ValidationError as error:
        return [found["type"] for found in error.errors(include_url=False) if key in found["loc"] or not found["loc"]]
    except Exception as error:  # noqa: BLE001 - a validator of the plugin's own refused it in its own way
        return [type(error).__name__]
    return []
