"""Probabilistic IoU loss."""

from typing import Literal

import torch
from torch import Tensor

from detloss.boxes import bounded, center, inverted, size
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_gaussian.eps import EpsConfig
from detloss_gaussian.root import root

MAX_DISTANCE = 100.0
"""Limit of the Bhattacharyya distance, the authors' own; exp(-100) is 0 next to 1 in any precision."""


class ProbIoULoss(BoxRegressionLoss):
    """Probabilistic IoU: the Hellinger distance ``sqrt(1 - exp(-B))``.

    Formula::

        l1: L = sqrt(1 - exp(-B))        l2: L = B, at most 100

        B = 1/4 (dx²/(a + a_gt) + dy²/(b + b_gt)) + 1/2 ln((a + a_gt)(b + b_gt) / (4 sqrt(a b a_gt b_gt)))

    ``B`` is the Bhattacharyya distance of the Gaussians of the two boxes, with variances ``a = w²/12``, ``b = h²/12``;
    ``dx, dy`` is the offset of the centers. The paper starts training with l2 and continues with l1, whose gradient
    vanishes for boxes far apart. Nothing is detached.

    References:
        Llerena et al., 2021, arXiv 2106.06072.

    Range:
        [0, 1] for l1, [0, 100] for l2.

    Degenerate boxes:
        At identical boxes value and gradient are 0. A side of 0 counts as eps pixels, which does not change boxes of
        ordinary size, in pixels or normalized. An inverted prediction costs the largest value of its mode more.
    """

    class Config(EpsConfig):
        mode: Literal["l1", "l2"] = "l1"
        """`l1`: Hellinger distance; `l2`: Bhattacharyya distance."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, MAX_DISTANCE)
    invariances = frozenset({"translation", "scale", "axis_scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pred, target = bounded(pred), bounded(target)
        pred_size, target_size = size(pred) + self.config.eps, size(target) + self.config.eps
        offset = (center(pred) - center(target)) / torch.hypot(pred_size, target_size)
        # (a + a_gt) / (2 sqrt(a a_gt)) = (w² + w_gt²) / (2 w w_gt) = 1 + (w - w_gt)² / (2 w w_gt)
        mismatch = (pred_size - target_size).square() / (2 * pred_size * target_size)
        distance = (3 * offset.square() + mismatch.log1p() / 2).sum(0).clamp(max=MAX_DISTANCE)
        if self.config.mode == "l2":
            return distance + MAX_DISTANCE * inverted(pred)
        return root(-torch.expm1(-distance)) + inverted(pred)
