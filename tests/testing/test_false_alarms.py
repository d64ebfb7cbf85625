"""The conformance kit, tried on losses that are right and written in other ways than detloss's own."""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Literal

import pytest
import torch
from bad_losses import giou
from pydantic import Field
from torch import Tensor, nn

from detloss import build_loss
from detloss.boxes import bounded, inverted, iou
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, NestedSpec, Space
from detloss.testing import CHECKS
from detloss.testing.subject import subject_of

QUICK = [check for check in CHECKS if check.name != "torch_compile"]


class Colour(enum.Enum):
    RED = "red"


class Limits(LossConfig):
    low: float = 0.0


class ManyTypes(BoxRegressionLoss):
    """GIoU whose parameters are of all types that a Config may have (Nobody, 2024)."""

    class Config(LossConfig):
        mode: Literal["a", "b"] = "a"
        version: Literal[1, 2] = 1
        colour: Colour = Colour.RED
        cap: float | None = None
        label: str | None = None
        width: float | str = 1.0
        height: str | float = "auto"
        beta: Literal["auto"] | float = "auto"
        flag: bool | None = None
        levels: list[float] = Field([1.0, 2.0])
        strides: tuple[int, ...] = ()
        per_class: dict[str, float] = Field({"cat": 1.0})
        classes: frozenset[int] = frozenset({1})
        limits: Limits = Limits()
        other_limits: Limits | None = None
        base: NestedSpec | None = None
        bases: tuple[NestedSpec, ...] = (NestedSpec.model_validate({"name": "iou", "mode": "square"}),)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Required(BoxRegressionLoss):
    """GIoU with a parameter that has no default.

    https://arxiv.org/abs/1902.09630
    """

    class Config(LossConfig):
        scale: float = Field(gt=0)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class TwoBases(BoxRegressionLoss):
    """The sum of two losses, one of them with a running mean and one that asks for the size (Nobody, 2024)."""

    class Config(LossConfig):
        bases: tuple[NestedSpec, ...] = (NestedSpec(name="wiou"), NestedSpec(name="mpdiou"))

    config: Config
    minimum: ClassVar[float | None] = None

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.bases = nn.ModuleList(build_loss(base) for base in self.config.bases)
        self.batch_dependent = True

    def forward(
        self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None, anchors: Tensor | None = None
    ) -> Tensor:
        given = {"image_size": image_size, "anchors": anchors}
        values = [base(pred, target, **{name: given[name] for name in base.extras}) for base in self.bases]
        return torch.stack(values).sum(dim=0)


class Anchored(BoxRegressionLoss):
    """GIoU that counts more for a good anchor (Nobody, 2024)."""

    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation"})

    def forward(self, pred: Tensor, target: Tensor, *, anchors: Tensor) -> Tensor:
        return giou(pred, target) * (1 + iou(anchors, target))


class Split(BoxRegressionLoss):
    """IoU by split, where and einsum, without detloss's pairs (Nobody, 2024)."""

    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        low, high = bounded(pred).split(2, dim=-1)
        target_low, target_high = bounded(target).split(2, dim=-1)
        overlap = torch.minimum(high, target_high) - torch.maximum(low, target_low)
        sides = torch.stack([high - low, target_high - target_low, overlap])
        width, height = torch.where(sides > 0, sides, 0.0).unbind(dim=-1)
        area, target_area, intersection = width * height
        union = torch.einsum("i...->...", torch.stack([area, target_area, -intersection]))
        return 1 - intersection / (union + 1e-7) + inverted(pred)


class WithModule(BoxRegressionLoss):
    """Huber loss by torch's module, with one constant weight a coordinate (Huber, 1964)."""

    space: ClassVar[Space] = "deltas"
    coordinate: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.huber = nn.HuberLoss(reduction="none")
        self.register_buffer("coordinate", torch.tensor([1.0, 1.0, 0.5, 0.5]), persistent=False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return (self.huber(pred, target) * self.coordinate).sum(dim=-1)


class Delayed(BoxRegressionLoss):
    """GIoU over the mean of the steps before, so that no pair depends on its batch (Nobody, 2024)."""

    mean: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.tensor(1.0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss, mean = giou(pred, target), self.mean.clone()
        if self.training and len(pred):
            self.mean.lerp_(loss.detach().mean().to(mean.dtype), 0.1)
        return loss / mean.clamp(min=1e-3)


class Progressive(BoxRegressionLoss):
    """GIoU that costs more as training goes on (Nobody, 2024)."""

    progress: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) * (1 + self.progress)


@pytest.mark.parametrize(
    "loss",
    [ManyTypes, Required(scale=2.0), TwoBases, Anchored, Split, WithModule, Delayed, Progressive],
    ids=lambda loss: loss.__name__ if isinstance(loss, type) else type(loss).__name__,
)
def test_a_sound_loss_raises_no_alarm(loss: Any):
    """A loss that keeps every promise passes, however it is written and whatever its Config holds."""
    results = [check.apply(subject_of(loss)) for check in QUICK]
    assert {result.check.name: result.message for result in results if not result.ok} == {}
