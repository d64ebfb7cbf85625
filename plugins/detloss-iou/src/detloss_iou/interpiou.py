"""InterpIoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator
from torch import Tensor

from detloss.boxes import bounded, iou, pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["InterpIoULoss"]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Fraction = Annotated[float, Field(ge=0, le=1)]
# YAML has lists, and a frozen config holds a tuple.
Interval = Annotated[tuple[Fraction, Fraction], BeforeValidator(_as_tuple)]


class InterpIoULoss(BoxRegressionLoss):
    """InterpIoU: ``1 - IoU(P, G) + 1 - IoU(B, G)``, B between P and G (Liu & Watanabe, 2025, arXiv 2507.12420).

    Formula::

        L = 1 - IoU(P, G) + 1 - IoU(B, G),    B = (1 - alpha) P + alpha G

    ``P`` is the prediction, ``G`` the target, and ``B`` a box so near to the target that it overlaps it, which gives
    disjoint boxes a gradient. With ``dynamic``, ``alpha`` is ``1 - IoU(P, G)`` limited to an interval, and detached
    (D-InterpIoU). Everything else has its gradient. Pairs without area have the value 2; an inverted prediction costs 2
    more than its sides, which count as 0, would.

    Range: [0, 2].

    Recommended weights: none published: 10 and 2 are detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of InterpIoU."""

        alpha: Fraction = 0.98
        """How near B is to the target: 0 is the prediction, 1 the target."""
        dynamic: Interval | None = None
        """The lowest and the highest alpha of D-InterpIoU; null keeps `alpha`."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px²), so that boxes without area give a finite value and gradient."""

        @field_validator("dynamic")
        @classmethod
        def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
            if value and value[0] > value[1]:
                raise ValueError(f"the lowest alpha comes first: write [{value[1]:g}, {value[0]:g}]")
            return value

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "axis_scale"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pred, target = bounded(pred), bounded(target)
        pair, eps = pair_boxes(pred, target), self.config.eps
        loss = 1 - pair.iou(eps)
        alpha: float | Tensor = self.config.alpha
        if self.config.dynamic:
            alpha = loss.detach().clamp(*self.config.dynamic).unsqueeze(-1)
        between = pred + alpha * (target - pred)
        return loss + 1 - iou(between, target, eps) + self.value_range[1] * pair.inverted
