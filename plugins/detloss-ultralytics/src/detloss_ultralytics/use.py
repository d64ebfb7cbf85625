"""`use`: losses in every training of a `YOLO` or `RTDETR`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from ultralytics.engine.model import Model
from ultralytics.utils.torch_utils import unwrap_model

from detloss.errors import InjectionError
from detloss.injection import inject, injected


def use(yolo: Model, losses: Mapping[str, Any]) -> None:
    """Put losses into the models that `yolo.train()` makes.

    Call it again before a training is resumed: a checkpoint holds no losses. The second call replaces the first.

    Args:
        yolo: A `YOLO` or `RTDETR` of ultralytics.
        losses: As `detloss.inject` takes them: ``{"yolo": "nwd"}``, ``{"yolo_rtdetr": {"name": "ciou", "weight": 2}}``.

    Raises:
        DetlossError: they cannot be injected into this model.
    """
    inject(copy.deepcopy(yolo.model), losses)  # what is wrong is said now, not after an hour of preparing data
    ours = _Training(losses)
    callbacks = {
        "on_pretrain_routine_end": ours.inject,
        "on_train_batch_start": ours.advance,
        "on_train_epoch_end": ours.check,
    }
    for event, callback in callbacks.items():
        kept = [one for one in yolo.callbacks[event] if not isinstance(getattr(one, "__self__", None), _Training)]
        yolo.callbacks[event] = [*kept, callback]


class _Training:
    """Callbacks of a trainer; each process of a job has its own."""

    def __init__(self, losses: Mapping[str, Any]) -> None:
        self.losses = dict(losses)
        self.used = False
        self.steps = 0
        self.progress: list[Tensor] = []

    def inject(self, trainer: Any) -> None:
        """Put the losses into the new model and its moving average."""
        self.used = False
        self.steps = trainer.start_epoch * len(trainer.train_loader)
        for model in filter(None, (unwrap_model(trainer.model), trainer.ema and trainer.ema.ema)):
            # Distillation trains a student within the model.
            inject(getattr(model, "student_model", model), self.losses)
        head_losses = injected(unwrap_model(trainer.model)).values()
        for losses in head_losses:
            losses.register_forward_hook(self._note)
        buffers = [named for losses in head_losses for named in losses.named_buffers()]
        self.progress = [buffer for name, buffer in buffers if name.rpartition(".")[2] == "progress"]

    def advance(self, trainer: Any) -> None:
        """Tell losses with a buffer ``progress`` the done fraction of the training."""
        done = self.steps / (trainer.epochs * len(trainer.train_loader))
        for buffer in self.progress:
            buffer.fill_(min(done, 1.0))
        self.steps += 1

    def check(self, trainer: Any) -> None:
        """Refuse to continue if an epoch ended without the losses.

        Raises:
            InjectionError: nothing computed them.
        """
        if not self.used:
            raise InjectionError(
                f"detloss_ultralytics.use: an epoch of {type(trainer).__name__} did not compute the losses (found a "
                f"{type(unwrap_model(trainer.model)).__name__}, expected its `loss` to be called). Fix: use a trainer "
                "that keeps its model."
            )

    def _note(self, *_: Any) -> None:
        self.used = True
