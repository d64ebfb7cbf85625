"""Shape-IoU loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["ShapeIoULoss"]

SUPREMUM = 3 + (1 - math.exp(-2)) / 2
"""1 for the IoU, 2 for a distance along the axis with all the weight, and theta = 1 for the side across it."""


class ShapeIoULoss(BoxRegressionLoss):
    """Shape-IoU: ``1 - IoU + d_shape + Omega / 2`` (Zhang & Zhang, 2023, arXiv 2312.17663).

    Formula::

        L       = 1 - IoU + (hh dx² + ww dy²) / c² + Omega / 2
        Omega   = (1 - exp(-omega_w))^theta + (1 - exp(-omega_h))^theta
        omega_w = hh |w - W| / max(w, W),    omega_h = ww |h - H| / max(h, H)
        ww      = 2 W^s / (W^s + H^s),       hh      = 2 H^s / (W^s + H^s)

    ``dx, dy`` is the offset of the centres, ``c`` the diagonal of the smallest enclosing box, ``w, h`` and ``W, H`` the
    sides of prediction and target; ``s`` is ``scale``, and with 0 both weights are 1. The weights come from the target
    alone. Nothing is detached. eps is added to every denominator; an inverted prediction costs the supremum more than
    its sides, which count as 0, would.

    Range: [0, 3.44), at the defaults [0, 2.16).

    Recommended weights: none published: 10 and 2 are detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of Shape-IoU."""

        scale: float = Field(0.0, ge=0)
        """Exponent of the target's sides; the paper relates it to the size of the objects in the data."""
        theta: float = Field(4.0, ge=1)
        """Exponent of the shape cost; the paper's."""
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
    value_range: ClassVar[tuple[float, float]] = (0.0, SUPREMUM)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        # 2 W^s / (W^s + H^s) = 2 sigmoid(s ln(W / H)): no power that could overflow.
        ww = 2 * torch.sigmoid(self.config.scale * ((pair.target_w + eps) / (pair.target_h + eps)).log())
        hh = 2 - ww
        distance = (hh * pair.dx.square() + ww * pair.dy.square()) / (pair.cw.square() + pair.ch.square() + eps)
        shape = self._shape_cost(hh, pair.w, pair.target_w) + self._shape_cost(ww, pair.h, pair.target_h)
        return 1 - pair.iou(eps) + distance + shape / 2 + SUPREMUM * pair.inverted

    def _shape_cost(self, weight: Tensor, side: Tensor, target_side: Tensor) -> Tensor:
        omega = weight * (side - target_side).abs() / (torch.maximum(side, target_side) + self.config.eps)
        return (-torch.expm1(-omega)).pow(self.config.theta)
