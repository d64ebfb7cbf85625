"""Bounded IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["BoundedIoULoss"]


class BoundedIoULoss(BoxRegressionLoss):
    """Bounded IoU: ``sum of smooth_l1(1 - IoU_b) over x, y, w, h`` (Tychsen-Smith & Petersson, 2018, arXiv 1711.00164).

    Formula::

        L = sum over x, y, w, h of smooth_l1(1 - IoU_b; beta)
        IoU_b(x) = max(0, (W - 2 |dx|) / (W + 2 |dx|)),    IoU_b(w) = min(w / W, W / w)

    and likewise for ``y`` and ``h``: each is the largest IoU that the pair could have, were only that one parameter
    wrong. ``dx`` is the difference of the centres, ``w`` and ``W`` are the widths of prediction and target.
    ``smooth_l1(d; beta)`` is ``d² / (2 beta)`` below ``beta``, else ``d - beta / 2``. Nothing is detached. A side of
    length 0 in prediction or target counts as a complete miss; an inverted prediction costs 4 more.

    Range: [0, 4); [0, 3.6] with ``beta = 0.2``.

    Recommended weights: published: 10 in the R-CNN box head (mmdetection), 1 in the RPN (mmdetection, shape loss of
    guided anchoring). For the others none is published: 2 is detloss's own starting point.
    """

    class Config(LossConfig):
        """Parameters of bounded IoU."""

        beta: float = Field(0.2, gt=0)
        """Where the square meets the line, in units of ``1 - IoU``."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 1.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 4.0)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "axis_scale"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair = pair_boxes(pred, target)
        bounds = [
            self._of_offset(pair.dx, pair.target_w),
            self._of_offset(pair.dy, pair.target_h),
            self._of_side(pair.w, pair.target_w),
            self._of_side(pair.h, pair.target_h),
        ]
        one = torch.ones_like(pair.w)
        x, y, w, h = (smooth_l1_loss(bound, one, reduction="none", beta=self.config.beta) for bound in bounds)
        return x + y + w + h + self.value_range[1] * pair.inverted

    def _of_offset(self, offset: Tensor, target_side: Tensor) -> Tensor:
        distance = 2 * offset.abs()
        return ((target_side - distance) / (target_side + distance + self.config.eps)).relu()

    def _of_side(self, side: Tensor, target_side: Tensor) -> Tensor:
        return torch.minimum(side, target_side) / (torch.maximum(side, target_side) + self.config.eps)
