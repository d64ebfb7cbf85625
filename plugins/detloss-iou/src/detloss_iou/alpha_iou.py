"""Alpha-IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["AlphaIoULoss"]


class AlphaIoULoss(BoxRegressionLoss):
    """Alpha-IoU: ``1 - IoU**alpha + penalty**alpha`` (He et al., NeurIPS 2021, arXiv 2110.13675).

    Formula::

        L = 1 - IoU^alpha                                        base iou
                          + ((C - U) / C)^alpha                  base giou
                          + (rho² / c²)^alpha                    base diou
                          + (rho² / c²)^alpha + (beta v)^alpha   base ciou

    The symbols are those of ``giou``, ``diou`` and ``ciou``; ``beta = v / (1 - IoU + v)`` has the plain IoU in it and
    is detached. With ``alpha`` above 1, boxes that fit well get the larger gradients. A power is a straight line below
    ``eps``, where the slope of ``x^alpha`` would be infinite for ``alpha`` below 1. A pair without area has the value
    1 plus its penalties; an inverted prediction costs 3 more than its sides, which count as 0, would.

    Range: [0, 3); [0, 1] with base iou, [0, 2) with giou and diou.

    Recommended weights: published: 1 in the R-CNN box head (the author, Jacobi93/Alpha-IoU, issue 13). For the others
    none is published on this scale: 2 is detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of Alpha-IoU."""

        alpha: float = Field(3.0, gt=0)
        """The power."""
        base: Literal["iou", "giou", "diou", "ciou"] = "iou"
        """Whose terms are raised to it."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px, px²), and the value below which a power is a straight line."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 1.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 3.0)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou = pair.iou(eps)
        loss = 1 - self._power(iou)
        match self.config.base:
            case "giou":
                enclosing = pair.cw * pair.ch
                # In rounding C may fall below U, where a power below 1 is steep.
                loss = loss + self._power((enclosing - pair.union).relu() / (enclosing + eps))
            case "diou":
                loss = loss + self._power(pair.center_distance(eps))
            case "ciou":
                v = pair.aspect_difference(eps)
                beta = (v / (1 - iou + v + eps)).detach()
                loss = loss + self._power(pair.center_distance(eps)) + self._power(beta * v)
        return loss + self.value_range[1] * pair.inverted

    def _power(self, x: Tensor) -> Tensor:
        # x^alpha from eps up; x eps^(alpha - 1), the line from the origin to that point, below.
        return x * x.clamp(min=self.config.eps) ** (self.config.alpha - 1)
