"""Extended IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.boxes import BoxPair, pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["ExtendedEIoULoss"]


class ExtendedEIoULoss(BoxRegressionLoss):
    """Extended IoU: ``smooth_l1(1 - I / U)`` with a signed ``I`` (Peng & Yu, IEEE TIP 2021).

    Formula::

        I = (x2 - ex)(y2 - ey) + (xmin - ex)(ymin - ey) - (x1 - ex)(ymax - ey) - (xmax - ex)(y1 - ey)
        u = 1 - I / (wh + WH - I)
        L = u² / (2 s)  if u < s,  else  u - s / 2

    ``x1, y1, x2, y2`` are the corners of the overlap, which are the wrong way round where the boxes are disjoint;
    ``xmin, xmax, ymin, ymax`` are the same corners in order, ``ex, ey`` is the left top corner of the smallest
    enclosing box, ``w, h`` and ``W, H`` are the sides of prediction and target, and ``s`` is ``smooth_point``. Where
    the boxes overlap ``I`` is the intersection; where they are disjoint it is negative and pulls them together.
    Nothing is detached. A pair without area has ``u = 1``; an inverted prediction costs 2 more than its sides, which
    count as 0, would. This is mmdetection's ``EIoULoss`` (S. Peng and S. Yu, "A systematic IoU-related method:
    beyond simplified regression for better localization", IEEE document 9429909); it is not the EIoU of Zhang
    et al., which is ``eiou``.

    Range: [0, 2).

    Recommended weights: none published for these heads: 10 in the R-CNN box head and 2 in the others are detloss's
    own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of the extended IoU loss."""

        smooth_point: float = Field(0.1, gt=0)
        """Where the square meets the line, in units of ``1 - IoU``."""
        eps: float = Field(1e-7, gt=0)
        """Added to the union (px²), so that boxes without area give a finite value and gradient."""

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
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "axis_scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair = pair_boxes(pred, target)
        signed = _signed_intersection(pair)
        union = pair.w * pair.h + pair.target_w * pair.target_h - signed
        u = 1 - signed / (union + self.config.eps)
        loss = smooth_l1_loss(u, torch.zeros_like(u), reduction="none", beta=self.config.smooth_point)
        return loss + self.value_range[1] * pair.inverted


def _signed_intersection(pair: BoxPair) -> Tensor:
    x1, x2 = _overlap(pair.x1, pair.x2, pair.target_x1, pair.target_x2)
    y1, y2 = _overlap(pair.y1, pair.y2, pair.target_y1, pair.target_y2)
    return (
        x2 * y2
        + torch.minimum(x1, x2) * torch.minimum(y1, y2)
        - x1 * torch.maximum(y1, y2)
        - torch.maximum(x1, x2) * y1
    )


def _overlap(low: Tensor, high: Tensor, target_low: Tensor, target_high: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the overlap starts and ends in one axis, from the start of the enclosing box on."""
    start, end = torch.maximum(low, target_low), torch.minimum(high, target_high)
    # The overlap ends before the enclosing box starts only for an inverted prediction: then its end is the origin.
    origin = torch.minimum(torch.minimum(low, target_low), end)
    return start - origin, end - origin
