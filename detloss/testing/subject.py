"""The loss that is checked, from a name, spec, class or instance."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from detloss.config import check_spec
from detloss.loss import BoxRegressionLoss, LossConfig, NestedSpec
from detloss.registry import Plugin, find_plugins

SubjectLike = str | Mapping[str, Any] | NestedSpec | type[BoxRegressionLoss] | BoxRegressionLoss
"""A loss: its name, its spec, its class (with its default parameters) or an instance (with its own)."""


@dataclass(frozen=True)
class Subject:
    """The class and the parameters that are checked.

    The checks build their own instances.

    Attributes:
        who: Its name in messages: the name of the loss or class, and its parameters.
        cls: Its class.
        config: Its parameters.
        plugin: The installed plugin; None where no package or registered name has this class.
    """

    who: str
    cls: type[BoxRegressionLoss]
    config: LossConfig
    plugin: Plugin | None


def subject_of(loss: SubjectLike) -> Subject:
    """Find the loss to check.

    Raises:
        PluginError: A name is unknown, claimed twice, or its loss cannot be loaded.
        ConfigError: A parameter is wrong.
        TypeError: It is not a loss, or a class whose parameters have no defaults.
    """
    if isinstance(loss, BoxRegressionLoss):
        return _of_class(type(loss), loss.config)
    if isinstance(loss, type):
        if not issubclass(loss, BoxRegressionLoss):
            bases = ", ".join(base.__name__ for base in loss.__bases__)
            raise TypeError(
                f"Expected a loss, found the class {loss.__qualname__}({bases}). Fix: derive it from "
                f"detloss.BoxRegressionLoss: `class {loss.__name__}(BoxRegressionLoss):`."
            )
        try:
            return _of_class(loss, loss.Config())
        except ValidationError as error:
            missing = ", ".join(str(each["loc"][0]) for each in error.errors() if each["loc"]) or "some parameter"
            raise TypeError(
                f"{loss.__qualname__} has no usable default for {missing}. Fix: check an instance "
                f"({loss.__name__}({missing.partition(',')[0]}=...)) or a spec with parameters."
            ) from error
    if not isinstance(loss, str | Mapping | NestedSpec):
        raise TypeError(
            f"Expected a loss (its name, a spec, a class or an instance), found a {type(loss).__name__}: {loss!r:.60}. "
            "Fix: choose a name from `detloss list`."
        )
    found = check_spec(loss)
    return Subject(_who(found.plugin.name, found.config), found.cls, found.config, found.plugin)


def _of_class(cls: type[BoxRegressionLoss], config: LossConfig) -> Subject:
    plugin = next((plugin for plugin in find_plugins() if _target(plugin) is cls), None)
    return Subject(_who(cls.__qualname__ if plugin is None else plugin.name, config), cls, config, plugin)


def _target(plugin: Plugin) -> object:
    """Return the plugin's class if its module is imported already."""
    # A given class comes from no other module.
    if plugin.cls is not None:
        return plugin.cls
    found: Any = sys.modules.get(plugin.module)
    for part in plugin.attribute.split("."):
        found = getattr(found, part, None)
    return found


def _who(name: str, config: LossConfig) -> str:
    changed = config.model_dump(mode="json", exclude_defaults=True)
    return name + (f"({', '.join(f'{key}={value!r}' for key, value in changed.items())})" if changed else "")
