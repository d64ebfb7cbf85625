"""detloss: choose the box-regression loss of a torchvision detector by name.

The public names below are imported when they are first used: ``import detloss`` loads neither torch nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detloss.calibration import Calibration, calibrate
    from detloss.config import ModelConfig, build_loss, load_config
    from detloss.errors import (
        AllowListError,
        AlreadyPatchedError,
        ConfigError,
        ConformanceError,
        DataError,
        DetlossError,
        HeadNotFoundError,
        InjectionError,
        LossDefinitionError,
        NonFiniteError,
        PluginConflictError,
        PluginError,
        PluginLoadError,
        PluginNotAllowedError,
        ScaffoldError,
        UnknownPluginError,
    )
    from detloss.heads.validation import validation_losses
    from detloss.injection import eject, inject, injected
    from detloss.loss import BoxRegressionLoss, LossConfig, LossSpec, NestedSpec
    from detloss.models import build_model
    from detloss.registry import LoadedPlugin, Plugin, find_plugins, get_plugin, register

__version__ = "0.1.0"

_HOME = {
    "detloss.calibration": ("Calibration", "calibrate"),
    "detloss.config": ("ModelConfig", "build_loss", "load_config"),
    "detloss.errors": (
        "AllowListError",
        "AlreadyPatchedError",
        "ConfigError",
        "ConformanceError",
        "DataError",
        "DetlossError",
        "HeadNotFoundError",
        "InjectionError",
        "LossDefinitionError",
        "NonFiniteError",
        "PluginConflictError",
        "PluginError",
        "PluginLoadError",
        "PluginNotAllowedError",
        "ScaffoldError",
        "UnknownPluginError",
    ),
    "detloss.injection": ("eject", "inject", "injected"),
    "detloss.loss": ("BoxRegressionLoss", "LossConfig", "LossSpec", "NestedSpec"),
    "detloss.models": ("build_model",),
    "detloss.registry": ("LoadedPlugin", "Plugin", "find_plugins", "get_plugin", "register"),
    "detloss.heads.validation": ("validation_losses",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AllowListError",
    "AlreadyPatchedError",
    "BoxRegressionLoss",
    "Calibration",
    "ConfigError",
    "ConformanceError",
    "DataError",
    "DetlossError",
    "HeadNotFoundError",
    "InjectionError",
    "LoadedPlugin",
    "LossConfig",
    "LossDefinitionError",
    "LossSpec",
    "ModelConfig",
    "NestedSpec",
    "NonFiniteError",
    "Plugin",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "PluginNotAllowedError",
    "ScaffoldError",
    "UnknownPluginError",
    "build_loss",
    "build_model",
    "calibrate",
    "eject",
    "find_plugins",
    "get_plugin",
    "inject",
    "injected",
    "load_config",
    "register",
    "validation_losses",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'detloss' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
