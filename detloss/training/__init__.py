"""Training of torchvision detectors: data, Lightning module, evaluation, reports (the extra ``detloss[train]``).

The public names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detloss.training.checkpoints import Interrupted
    from detloss.training.config import FitConfig, TrainConfig
    from detloss.training.data import CocoDataset, DetectionDataset, collate
    from detloss.training.evaluation import evaluate_boxes
    from detloss.training.guard import Guard
    from detloss.training.module import DetectionModule
    from detloss.training.run import TrainResult, load_trained, train
    from detloss.training.shapes import ShapesDataset
    from detloss.training.sources import default_config

__all__ = [
    "CocoDataset",
    "DetectionDataset",
    "DetectionModule",
    "FitConfig",
    "Guard",
    "Interrupted",
    "ShapesDataset",
    "TrainConfig",
    "TrainResult",
    "collate",
    "default_config",
    "evaluate_boxes",
    "load_trained",
    "train",
]

_HOME = {
    "checkpoints": ("Interrupted",),
    "config": ("FitConfig", "TrainConfig"),
    "data": ("CocoDataset", "DetectionDataset", "collate"),
    "evaluation": ("evaluate_boxes",),
    "guard": ("Guard",),
    "module": ("DetectionModule",),
    "run": ("TrainResult", "load_trained", "train"),
    "shapes": ("ShapesDataset",),
    "sources": ("default_config",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'detloss.training' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"detloss.training.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
