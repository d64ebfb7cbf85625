"""Further losses that the conformance kit must reject: other ways to break a promise than those of `bad_losses`.

Each is the generalized IoU with one fault, which its docstring names.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
import torch
from bad_losses import giou
from pydantic import BaseModel, Field, field_validator
from torch import Tensor, nn

from detloss.boxes import area, pair_boxes
from detloss.loss import BoxRegressionLoss, LossConfig


class Repairing(BoxRegressionLoss):
    """GIoU whose Config takes text for the numbers of a tuple (Doe, 2024)."""

    class Config(LossConfig):
        scales: tuple[float, float] = (1.0, 1.0)

        @field_validator("scales", mode="before")
        @classmethod
        def _numbers(cls, value: Any) -> Any:
            return tuple(float(each) for each in value)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scales[0] * giou(pred, target)


class _Limits(BaseModel):
    low: float = 1.0


class Nested(BoxRegressionLoss):
    """GIoU whose Config holds a model that is lax in everything (Doe, 2024)."""

    class Config(LossConfig):
        limits: _Limits = _Limits()

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.limits.low * giou(pred, target)


class Anything(BoxRegressionLoss):
    """GIoU with a parameter of any type (Doe, 2024)."""

    class Config(LossConfig):
        scale: Any = Field(1.0)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class _Stateful(BoxRegressionLoss):
    mean: Tensor
    steps: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.tensor(1.0))
        self.register_buffer("steps", torch.tensor(0))


class Poisoned(_Stateful):
    """GIoU over a running mean, which a batch without pairs makes NaN (Doe, 2024)."""

    batch_dependent = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        if self.training:
            self.mean.lerp_(loss.detach().mean().to(self.mean.dtype), 0.1)
        return loss / self.mean.clamp(min=1e-3)


class Reading(_Stateful):
    """GIoU over a running mean, which goes through a Python number while training (Doe, 2024)."""

    batch_dependent = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        if self.training and len(pred):
            self.mean.fill_(0.9 * self.mean.item() + 0.1 * loss.detach().mean().item())
        return loss / self.mean.clamp(min=1e-3)


class Ticking(_Stateful):
    """GIoU that counts its steps in evaluation mode too (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        self.steps += 1
        return giou(pred, target)


class _Tally(BoxRegressionLoss):
    steps = 0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if self.training:
            _Tally.steps += 1
        return giou(pred, target)


class Inheriting(_Tally):
    """GIoU that counts its steps in the class that it derives from (Doe, 2024)."""


class _Meter:
    def __init__(self) -> None:
        self.mean: float | Tensor = 1.0


class Hiding(BoxRegressionLoss):
    """GIoU over a running mean, which an object holds that is no module (Doe, 2024)."""

    batch_dependent = True

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.meter = _Meter()

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        if self.training and len(pred):
            self.meter.mean = 0.9 * self.meter.mean + 0.1 * loss.detach().mean()
        return loss / self.meter.mean


class Shaking(BoxRegressionLoss):
    """GIoU with dropout, which is none in evaluation mode (Doe, 2024)."""

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.dropout = nn.Dropout(0.1)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        value: Tensor = self.dropout(giou(pred, target))
        return value


class Square(BoxRegressionLoss):
    """GIoU and a difference of areas in square pixels, too steep for float16 (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        pair = pair_boxes(pred, target)
        areas = (area(pair.size) - area(pair.target_size)).abs()
        return areas + giou(pred, target, inverted=1e12)


class Distant(BoxRegressionLoss):
    """IoU and a distance that ends at 1 for boxes of small images only (Doe, 2024)."""

    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        pair = pair_boxes(pred, target)
        return 1 - pair.iou(1e-7) + pair.offset.abs().sum(0) / 1000 + 1e12 * pair.inverted


class Lenient(BoxRegressionLoss):
    """GIoU that lets an inverted box off lightly if it is far away (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        pair = pair_boxes(pred, target)
        return torch.where(pair.inverted & (pair.offset[0].abs() > 500), 0.5, giou(pred, target))


class Averaging(_Stateful):
    """GIoU over a running mean, whose momentum is not the parameter (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, gt=0)
        momentum: float = Field(0.1, gt=0, le=1)

    config: Config
    batch_dependent = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = self.config.scale * giou(pred, target)
        if self.training and len(pred):
            self.mean.lerp_(loss.detach().mean().to(self.mean.dtype), 0.1)
        return loss / self.mean.clamp(min=1e-3)


class _Bounds(LossConfig):
    low: float = 0.0
    high: float = 2.0


class HalfRead(BoxRegressionLoss):
    """GIoU clamped from below, and not from above (Doe, 2024)."""

    class Config(LossConfig):
        bounds: _Bounds = _Bounds()

    config: Config
    minimum: ClassVar[float | None] = None

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + self.config.bounds.low


class Stored(BoxRegressionLoss):
    """GIoU with a parameter that a buffer holds, and nothing reads (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, gt=0)

    config: Config

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("scale", torch.tensor(self.config.scale))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Gambling(BoxRegressionLoss):
    """GIoU with a little noise of Python's own (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + 1e-12 * random.random()


class Sampling(BoxRegressionLoss):
    """GIoU with a little noise of numpy (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + 1e-12 * float(np.random.rand())


class Bare(BoxRegressionLoss):
    """GIoU that is called as any module is, without what the base class does to its inputs (Doe, 2024)."""

    __call__ = nn.Module.__call__

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Widening(_Stateful):
    """GIoU over a running mean that takes over the dtype of the boxes (Doe, 2024)."""

    batch_dependent = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        if self.training and len(pred):
            self.mean = 0.9 * self.mean + 0.1 * loss.detach().mean()
        return loss / self.mean.clamp(min=1e-3)


class Leaving(BoxRegressionLoss):
    """GIoU whose parameters may be such that only both together lead out of its range (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, ge=1, le=2)
        offset: float = Field(0.0, ge=0, le=2)

    config: Config
    value_range: ClassVar[tuple[float, float]] = (0.0, 5.0)
    minimum: ClassVar[float | None] = None

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target) + self.config.offset


class Progressive(BoxRegressionLoss):
    """GIoU that costs more as training goes on, a sound loss (Doe, 2024)."""

    progress: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) * (1 + self.progress)


class Outgrowing(BoxRegressionLoss):
    """GIoU by a loss within it, which leaves the declared range as training ends (Doe, 2024)."""

    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.base = Progressive()

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        value: Tensor = self.base(pred, target)
        return value


MORE_BAD: dict[type[BoxRegressionLoss], set[str]] = {
    Repairing: {"config_strict"},
    Nested: {"config_strict", "config_extra", "config_finite", "config_frozen"},
    Anything: {"config_finite"},
    Poisoned: {"empty"},
    Reading: {"meta_device"},
    Ticking: {"state_in_buffers", "vmap"},
    Inheriting: {"state_in_buffers"},
    Hiding: {"state_dict"},
    Shaking: {"determinism"},
    Square: {"half_precision"},
    Distant: {"value_range"},
    Lenient: {"inverted_boxes"},
    Gambling: {"determinism"},
    Sampling: {"determinism"},
    Outgrowing: {"value_range"},
    Bare: {"dtype", "target_gradient"},
    Widening: {"buffer_dtype", "state_dict"},
    Leaving: {"bounds"},
    Averaging: {"parameters_used"},
    HalfRead: {"parameters_used"},
    Stored: {"parameters_used"},
}
"""Loss -> the checks that reject it."""
