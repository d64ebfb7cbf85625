"""SCYLLA-IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["SIoULoss"]


class SIoULoss(BoxRegressionLoss):
    """SCYLLA-IoU: ``1 - IoU + (distance + shape) / 2`` (Gevorgyan, 2022, arXiv 2205.12740).

    Formula::

        L = 1 - IoU + (distance + shape) / 2
        angle    = 1 - 2 sin²(arcsin(|dy| / rho) - π / 4) = 2 |dx| |dy| / rho²
        distance = sum over x, y of  1 - exp(-(2 - angle) (dx / cw)²)
        shape    = sum over w, h of  (1 - exp(-|w - W| / max(w, W)))^theta

    ``dx, dy`` is the difference of the centres and ``rho`` its length, ``cw, ch`` are the sides of the smallest
    enclosing box, ``w, h`` and ``W, H`` those of prediction and target. The right hand form of ``angle`` follows from
    ``sin 2a = 2 sin a cos a``; it needs no arcsin, whose gradient is infinite at 1, and no choice between two angles.
    It is 0 for concentric boxes. Nothing is detached, the angle included. A pair without area has the value 1 plus
    its penalties; an inverted prediction costs 2.5 more than its sides, which count as 0, would.

    Range: [0, 2.5); [0, 2.03) with ``theta = 4``.

    Recommended weights: published: 2.5 in a dense head (YOLOv6-N), taken for RetinaNet, FCOS and SSD. For the others
    none is published: 10 and 2 are detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of SIoU."""

        theta: float = Field(4.0, ge=1)
        """Exponent of the shape cost: how much small differences of the sides count; the paper takes 2 to 6."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px, px²), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 2.5,
        "fcos": 2.5,
        "ssd": 2.5,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 2.5)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        dx, dy = pair.dx, pair.dy
        angle = 2 * (dx * dy).abs() / (dx * dx + dy * dy + eps)
        x_cost = torch.expm1((angle - 2) * (dx / (pair.cw + eps)).square())
        y_cost = torch.expm1((angle - 2) * (dy / (pair.ch + eps)).square())
        shape = self._shape_cost(pair.w, pair.target_w) + self._shape_cost(pair.h, pair.target_h)
        return 1 - pair.iou(eps) + (shape - x_cost - y_cost) / 2 + self.value_range[1] * pair.inverted

    def _shape_cost(self, side: Tensor, target_side: Tensor) -> Tensor:
        omega = (side - target_side).abs() / (torch.maximum(side, target_side) + self.config.eps)
        cost: Tensor = (-torch.expm1(-omega)) ** self.config.theta
        return cost
