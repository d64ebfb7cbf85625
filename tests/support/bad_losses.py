"""A sound loss, and for every check of the conformance kit a loss that breaks this one promise and no other.

Each is the generalized IoU with one fault, which its docstring names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from detloss.boxes import area, bounded, iou, pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

EPS = 1e-7


def giou(pred: Tensor, target: Tensor, inverted: float = 2.0) -> Tensor:
    """``1 - IoU + (C - U) / C``, in [0, 2), and `inverted` more for an inverted prediction."""
    pair = pair_boxes(pred, target)
    enclosing = area(pair.enclosing)
    return 1 - pair.iou(EPS) + (enclosing - pair.union) / (enclosing + EPS) + inverted * pair.inverted


def without_width(pred: Tensor) -> Tensor:
    return pred[..., 0] == pred[..., 2]


class Sound(BoxRegressionLoss):
    """GIoU without a fault (Rezatofighi et al., CVPR 2019, arXiv 1902.09630)."""

    class Config(LossConfig):
        scale: float = Field(1.0, ge=0.1, le=10)
        """Factor on the value."""

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class Headline(BoxRegressionLoss):
    """GIoU, and a first line that is not a sentence (Rezatofighi et al., 2019)"""  # noqa: D415 - the fault

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Uncited(BoxRegressionLoss):
    """GIoU from nobody knows where."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Converting(BoxRegressionLoss):
    """GIoU with a parameter that takes text for a number (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, gt=0, strict=False)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class Indulgent(BoxRegressionLoss):
    """GIoU that drops parameters it does not know (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, gt=0)

        @model_validator(mode="before")
        @classmethod
        def _known_only(cls, data: dict[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in data.items() if key in cls.model_fields}

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class Boundless(BoxRegressionLoss):
    """GIoU with a parameter that may be NaN (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, allow_inf_nan=True)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class Thawed(BoxRegressionLoss):
    """GIoU with parameters that can be set later (Doe, 2024)."""

    class Config(LossConfig):
        scale: float = Field(1.0, gt=0)

        def __setattr__(self, name: str, value: object) -> None:
            vars(self)[name] = value

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.config.scale * giou(pred, target)


class Headless(BoxRegressionLoss):
    """GIoU with a weight for a head that does not exist (Doe, 2024)."""

    recommended_weights: ClassVar[Mapping[str, float]] = {"roi_head": 10.0}

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Undemanding(BoxRegressionLoss):
    """GIoU of a package that takes any later detloss (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Squeezing(BoxRegressionLoss):
    """GIoU that loses the dimension of a batch of one (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target).squeeze()


class Widening(BoxRegressionLoss):
    """GIoU that is float64 whatever the boxes are (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target).double()


class Crowded(BoxRegressionLoss):
    """GIoU that cannot do without a pair, for it asks for the first coordinate (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + torch.zeros_like(pred[0, 0])


class Queueing(BoxRegressionLoss):
    """GIoU that costs more further back in the batch (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        place = torch.arange(pred.shape[0], dtype=pred.dtype, device=pred.device)
        return giou(pred, target) * (1 + 1e-3 * place)


class Counting(BoxRegressionLoss):
    """GIoU times the number of pairs, outside of training too (Doe, 2024)."""

    batch_dependent = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) * (1 + 1e-3 * pred.shape[0])


class Secretive(BoxRegressionLoss):
    """GIoU weighed by the batch's mean while training, without saying so (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        return loss * (1 + 1e-3 * loss.detach().mean()) if self.training else loss


class Dicing(BoxRegressionLoss):
    """GIoU with a little noise (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        return loss + 1e-12 * torch.rand_like(loss)


class Offset(BoxRegressionLoss):
    """GIoU that is 0.01 at its declared minimum of 0 (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + 0.01


class Understated(BoxRegressionLoss):
    """GIoU that says it ends at 1 (Doe, 2024)."""

    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Overstated(BoxRegressionLoss):
    """GIoU and a distance in pixels, which says that scale does not matter (Doe, 2024)."""

    invariances: ClassVar[frozenset[Invariance]] = frozenset({"scale"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + 1e-3 * (pred - target).abs().mean(dim=-1)


class Infinite(BoxRegressionLoss):
    """GIoU, and infinity for a prediction without width (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + torch.where(without_width(pred), torch.inf, 0.0)


class Steep(BoxRegressionLoss):
    """GIoU and a bare root, whose slope at identical boxes is NaN (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        offset = bounded(pred) - bounded(target)
        return giou(pred, target) + 1e-3 * offset.square().sum(dim=-1).sqrt()


class Contagious(BoxRegressionLoss):
    """GIoU that costs every pair more beside a prediction without width (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) * torch.where(without_width(pred).any(), 1 + 1e-6, 1.0)


class Forgiving(BoxRegressionLoss):
    """GIoU that takes a NaN for a perfect match (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        return torch.where(loss.isnan(), 0.0, loss)


class Trusting(BoxRegressionLoss):
    """GIoU that lets an inverted box off lightly (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target, inverted=0.0)


class Cutting(BoxRegressionLoss):
    """GIoU of as many pairs as there are of both (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        n = min(pred.shape[0], target.shape[0])
        return giou(pred[:n], target[:n])


class _Doubled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Doubling(BoxRegressionLoss):
    """GIoU with a backward of its own, twice too large (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        value: Tensor = _Doubled.apply(giou(pred, target))
        return value


class Scribbling(BoxRegressionLoss):
    """GIoU that clamps the target in place (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target.clamp_(min=0.0))


class Grasping(BoxRegressionLoss):
    """GIoU that asks for a gradient into the target (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            with contextlib.suppress(RuntimeError):  # vmap forbids it
                target.requires_grad_()
        return giou(pred, target)


class Deaf(BoxRegressionLoss):
    """GIoU that is squared whatever its parameter says (Doe, 2024)."""

    class Config(LossConfig):
        power: float = Field(2.0, ge=1)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target).square()


class Overreaching(BoxRegressionLoss):
    """IoU to a power, which allows one with an infinite slope at 0 (Doe, 2024)."""

    class Config(LossConfig):
        power: float = Field(2.0, ge=0.5, le=4)

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1 - iou(pred, target) ** self.config.power


class Remembering(BoxRegressionLoss):
    """GIoU that counts its training steps in an attribute (Doe, 2024)."""

    steps = 0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return giou(pred, target)


class Rounding(BoxRegressionLoss):
    """GIoU with a running mean that half precision rounds (Doe, 2024)."""

    mean: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.zeros(()))

    def _apply(self, fn: Any, recurse: bool = True) -> Rounding:
        nn.Module._apply(self, fn, recurse)
        return self

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        if self.training and len(pred):
            self.mean.lerp_(loss.detach().mean().to(self.mean.dtype), 0.1)
        return loss


class Forgetful(BoxRegressionLoss):
    """GIoU with a running mean that no checkpoint holds (Doe, 2024)."""

    mean: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        if self.training:
            self.mean.lerp_(loss.detach().mean().to(self.mean.dtype), 0.1)
        return loss


class Single(BoxRegressionLoss):
    """GIoU whose copy is itself (Doe, 2024)."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Single:
        return self

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Closed(BoxRegressionLoss):
    """GIoU that holds a function without a name (Doe, 2024)."""

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.weigh = lambda values: 2 * values

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        value: Tensor = self.weigh(giou(pred, target))
        return value


class Writing(BoxRegressionLoss):
    """GIoU that is written into a tensor of zeros (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        out = torch.zeros(pred.shape[0], dtype=pred.dtype, device=pred.device)
        out += giou(pred, target)
        return out


class Settled(BoxRegressionLoss):
    """GIoU with a constant that stays on the CPU (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) + torch.zeros(pred.shape[0], dtype=pred.dtype)


class Broken(BoxRegressionLoss):
    """GIoU that is two graphs to torch.compile (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return giou(pred, target)


class Loud(BoxRegressionLoss):
    """GIoU times ten million, whose gradient is too large for float16 (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1e7 * giou(pred, target)


class Idle(BoxRegressionLoss):
    """GIoU with a gradient of 0 everywhere (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        return loss.detach() + 0 * loss


BAD: dict[str, type[BoxRegressionLoss]] = {
    "docstring": Headline,
    "citation": Uncited,
    "config_strict": Converting,
    "config_extra": Indulgent,
    "config_finite": Boundless,
    "config_frozen": Thawed,
    "recommended_weights": Headless,
    "requirement": Undemanding,
    "shape": Squeezing,
    "dtype": Widening,
    "empty": Crowded,
    "batch_order": Queueing,
    "batch_size": Counting,
    "batch_dependence": Secretive,
    "determinism": Dicing,
    "minimum": Offset,
    "value_range": Understated,
    "invariances": Overstated,
    "finite_value": Infinite,
    "finite_gradient": Steep,
    "rows_unchanged": Contagious,
    "nan": Forgiving,
    "inverted_boxes": Trusting,
    "mismatched_shapes": Cutting,
    "gradient": Doubling,
    "inputs_unchanged": Scribbling,
    "target_gradient": Grasping,
    "parameters_used": Deaf,
    "bounds": Overreaching,
    "state_in_buffers": Remembering,
    "buffer_dtype": Rounding,
    "state_dict": Forgetful,
    "deep_copy": Single,
    "pickling": Closed,
    "vmap": Writing,
    "meta_device": Settled,
    "torch_compile": Broken,
    "half_precision": Loud,
    "training": Idle,
}
"""Check -> the loss that it alone rejects."""
