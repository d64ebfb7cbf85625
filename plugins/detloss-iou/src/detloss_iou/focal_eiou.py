"""Focal efficient IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["FocalEIoULoss"]


class FocalEIoULoss(BoxRegressionLoss):
    """Focal EIoU: ``IoU**gamma (1 - IoU + rho²/c² + dw²/cw² + dh²/ch²)`` (Zhang et al., 2021, arXiv 2101.08158).

    Formula::

        L = IoU^gamma (1 - IoU + rho² / c² + (w - W)² / cw² + (h - H)² / ch²)

    ``rho`` is the distance of the centres, ``c`` the diagonal of the smallest enclosing box and ``cw, ch`` its sides,
    ``w, h`` and ``W, H`` the sides of prediction and target. The weight ``IoU^gamma`` turns training to the boxes
    that already fit well. It is detached: attached, its slope at IoU 0 is infinite, and its gradient opposes EIoU's
    on some pairs. Disjoint boxes therefore have the value 0 and no gradient; an inverted prediction costs 3.25.

    Range: [0, 3.25], that of EIoU, which it is with gamma 0.

    Recommended weights: none published for these heads: 10 in the R-CNN box head and 2 in the others are detloss's
    own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of Focal-EIoU."""

        gamma: float = Field(0.5, ge=0)
        """Exponent of the weight; 0 is EIoU."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px, px²), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 3.25)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou = pair.iou(eps)
        eiou = 1 - iou + pair.center_distance(eps) + pair.side_difference(eps)
        return iou.detach() ** self.config.gamma * eiou + self.value_range[1] * pair.inverted
