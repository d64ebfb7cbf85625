"""The conformance kit, tried on losses that are right and written in other ways than detloss's own."""

from __future__ import annotations

import enum
import zlib
from typing import Any, ClassVar, Literal

import pytest
import torch
from bad_losses import giou
from more_bad_losses import Progressive
from pydantic import Field, field_validator
from torch import Tensor, nn

from detloss import ConfigError, build_loss
from detloss.boxes import bounded, inverted, iou, pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, NestedSpec, Space
from detloss.testing import CHECKS
from detloss.testing.subject import subject_of

QUICK = [check for check in CHECKS if check.name != "torch_compile"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Limits(LossConfig):
    low: float = 0.0


class ManyTypes(BoxRegressionLoss):
    """GIoU whose parameters are of all types that a Config may have (Doe, 2024)."""

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
        # A factor that any change of any parameter changes.
        return giou(pred, target) * (1 + zlib.crc32(repr(self.config).encode()) / 2**32)


class Required(BoxRegressionLoss):
    """GIoU with a parameter that has no default.

    References:
        Rezatofighi et al., Generalized intersection over union: a metric and a loss for bounding box regression,
        CVPR 2019.
    """

    class Config(LossConfig):
        scale: float = Field(gt=0)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class TwoBases(BoxRegressionLoss):
    """The sum of two losses, one of them with a running mean and one that asks for the size.

    https://arxiv.org/abs/1902.09630
    """

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
    """GIoU that counts more for a good anchor (Doe, 2024)."""

    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation"})

    def forward(self, pred: Tensor, target: Tensor, *, anchors: Tensor) -> Tensor:
        return giou(pred, target) * (1 + iou(anchors, target))


class Split(BoxRegressionLoss):
    """IoU by split, where and einsum, without detloss's pairs (Doe, 2024)."""

    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        low, high = bounded(pred).split(2, dim=-1)
        target_low, target_high = bounded(target).split(2, dim=-1)
        overlap = torch.minimum(high, target_high) - torch.maximum(low, target_low)
        sides = torch.stack([high - low, target_high - target_low, overlap])
        width, height = torch.where(sides < 0, 0.0, sides).unbind(dim=-1)
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
    """GIoU over the mean of the steps before, so that no pair depends on its batch (Doe, 2024)."""

    mean: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.tensor(1.0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss, mean = giou(pred, target), self.mean.clone()
        if self.training and len(pred):
            self.mean.lerp_(loss.detach().mean().to(mean.dtype), 0.1)
        return loss / mean.clamp(min=1e-3)


class Conditional(BoxRegressionLoss):
    """GIoU whose power counts in one mode, and only with a switch besides (Doe, 2024)."""

    class Config(LossConfig):
        power: float = Field(3.0, gt=0)
        scale: float = Field(1.0, gt=0)
        mode: Literal["plain", "double", "power"] = "plain"
        offset: float = Field(0.0, ge=0)
        steep: bool = False

    config: Config
    minimum: ClassVar[float | None] = None

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        config = self.config
        loss = giou(pred, target) * config.scale + config.offset
        if config.mode == "power":
            return loss**config.power if config.steep else 3 * loss
        return 2 * loss if config.mode == "double" else loss


class Clamping(BoxRegressionLoss):
    """GIoU at most as large as only misses are, with an eps that only points need (Doe, 2024)."""

    class Config(LossConfig):
        cap: float = Field(50.0, gt=0)
        eps: float = Field(1e-9, gt=0)
        label: str = "clamped"

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        pair = pair_boxes(pred, target)
        return (1 - pair.intersection / pair.union.clamp(min=self.config.eps)).clamp(
            max=self.config.cap
        ) + pair.inverted


class WarmedUp(BoxRegressionLoss):
    """GIoU at half its value for the first thousand steps (Doe, 2024)."""

    class Config(LossConfig):
        warmup: int = Field(1000, ge=0)

    config: Config
    steps: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.steps.add_(1)
        return giou(pred, target) * torch.where(self.steps <= self.config.warmup, 0.5, 1.0)


class Eased(Progressive):
    """GIoU that costs more as training goes on, along a line or a wave (Doe, 2024)."""

    class Config(LossConfig):
        easing: Literal["line", "wave"] = "line"

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        progress = self.progress
        if self.config.easing == "wave":
            progress = (torch.pi * progress / 2).sin().square()
        return giou(pred, target) * (1 + progress)


class GradientOnly(BoxRegressionLoss):
    """GIoU weighed by itself, with or without a gradient of the weight (Doe, 2024)."""

    class Config(LossConfig):
        detached: bool = True

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        return loss * (loss.detach() if self.config.detached else loss)


class Picky(BoxRegressionLoss):
    """GIoU with a parameter that is narrowly bound, and one that it refuses itself (Doe, 2024)."""

    class Config(LossConfig):
        narrow: float = Field(0.3, ge=0.25, le=0.35)
        pair: tuple[float, float] | None = None
        axis: int = 0

        @field_validator("pair")
        @classmethod
        def _rising(cls, pair: tuple[float, float] | None) -> tuple[float, float] | None:
            if pair is not None and not 0 < pair[0] < pair[1] < 1:
                raise ValueError("write two rising fractions")
            return pair

    config: Config

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        if self.config.axis > 1:
            raise ConfigError("axis is 0 or 1.")

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        low, high = self.config.pair or (1.0, 1.0)
        loss = giou(pred, target, inverted=6.0) * self.config.narrow * low / high
        return loss * torch.where((pred < target)[..., self.config.axis], 2.0, 1.0)


@pytest.mark.parametrize(
    "loss",
    [
        ManyTypes,
        Required(scale=2.0),
        TwoBases,
        Anchored,
        Split,
        WithModule,
        Delayed,
        Progressive,
        Conditional,
        Clamping,
        WarmedUp,
        Eased,
        GradientOnly,
        Picky,
    ],
    ids=lambda loss: loss.__name__ if isinstance(loss, type) else type(loss).__name__,
)
def test_a_sound_loss_raises_no_alarm(loss: Any):
    """A loss that keeps every promise passes, however it is written and whatever its Config holds."""
    results = [check.apply(subject_of(loss)) for check in QUICK]
    assert {result.check.name: result.message for result in results if not result.ok} == {}
