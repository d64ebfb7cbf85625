"""What the heads share: the models that they take, and their criterion."""

from __future__ import annotations

import copy
import gc
import logging
from pathlib import Path
from typing import Any, ClassVar

import ultralytics
from ultralytics.engine.model import Model
from ultralytics.utils.torch_utils import unwrap_model

from detloss.errors import InjectionError
from detloss.heads.pickled import PlainPickles

_log = logging.getLogger("detloss")


class Criterion:
    """The attribute `criterion` of a model.

    In a step it gives what the adapter makes of a copy, outside of one the criterion itself. The model makes and drops
    its criterion whenever it likes, and no criterion is ever changed.
    """

    def __get__(self, model: ModelAdapter | None, owner: type[ModelAdapter]) -> Any:
        """Return the criterion, or what stands for it."""
        if model is None:
            return self
        # nn.Module keeps a criterion that is a module elsewhere.
        criterion = vars(model)["criterion"] if "criterion" in vars(model) else model.__getattr__("criterion")
        return model.changed(copy.copy(criterion)) if model.is_recording and criterion is not None else criterion

    def __set__(self, model: ModelAdapter, value: Any) -> None:
        """Keep a plain criterion; nn.Module keeps one that is a module."""
        vars(model)["criterion"] = value


class ModelAdapter(PlainPickles):
    """Base of the adapters: the model computes its loss in `loss`."""

    supplies = frozenset({"image_size"})
    computes_losses = False  # `loss` opens the record, in eval mode too
    stock_methods: ClassVar[tuple[tuple[type, str], ...]]
    """Class and name of the methods that compute the stock loss."""

    criterion = Criterion()

    def changed(self, criterion: Any) -> Any:
        """Return what stands for the criterion in a step.

        It may be this copy, changed.
        """
        raise NotImplementedError

    @classmethod
    def patches(cls, module: Any) -> list[str]:
        """Describe what replaces the loss already; refuse models with another loss."""
        own: Any = cls.adapts
        made = type(module).init_criterion
        if made is not own.init_criterion:
            raise InjectionError(
                f"{cls.head_name}: a {type(module).__name__} computes another loss (found the criterion of "
                f"{made.__qualname__.partition('.')[0]}, expected that of {own.__name__}). Fix: "
                + ("inject into yolo_rtdetr." if "RTDETR" in made.__qualname__ else "give a model for detection.")
            )
        if _is_lost(module):
            _log.warning(
                "%s: YOLO.train() trains another model, without this loss. Fix: for YOLO.train(), call "
                "detloss_ultralytics.use(yolo, ...).",
                cls.head_name,
            )
        home = Path(ultralytics.__file__).parent
        return super().patches(module) + [
            f"{owner.__name__}.{name} is not that of ultralytics. Fix: restore it"
            for owner, name in cls.stock_methods
            if not Path(getattr(owner, name).__code__.co_filename).is_relative_to(home)
        ]

    def loss(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss, with the changed criterion."""
        with self.recording():
            return super().loss(*args, **kwargs)  # type: ignore[misc]  # of the model


def _is_lost(module: Any) -> bool:
    """Whether a `YOLO` holds the model and does not train it now."""
    # A proxy of any library is not asked for its class: that may import something.
    owners = [
        each for each in gc.get_objects() if issubclass(type(each), Model) and getattr(each, "model", None) is module
    ]
    return any(unwrap_model(getattr(owner.trainer, "model", None)) is not module for owner in owners)
