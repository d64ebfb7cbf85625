"""Powerful-IoU loss."""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss, LossConfig
from detloss_iou.eps import EpsConfig

SUPREMUM = 6 / math.sqrt(2 * math.e)
"""2, that of version 1, times the largest value of 3 x exp(-x²), at x = 1 / sqrt(2)."""


class PIoULoss(BoxRegressionLoss):
    """Powerful-IoU v2: ``3 (lam q) exp(-(lam q)²) PIoU_v1``.

    Formula::

        P  = 1/4 (|dx1| / W + |dx2| / W + |dy1| / H + |dy2| / H)
        v1 = 1 - IoU + 1 - exp(-P²)
        v2 = 3 (lam q) exp(-(lam q)²) v1,    q = exp(-P)

    ``dx1 ... dy2`` are the differences of the corners, ``W, H`` the sides of the target: the penalty does not shrink
    when the prediction grows. ``q`` is the quality of the box: version 2 focuses on boxes of medium quality. As in the
    authors' code, ``q`` is not detached: version 2 falls again for poor boxes, and its gradient can push them away.
    ``detach_q`` keeps the weight and drops that gradient. (Pixels-IoU, for rotated boxes, is another loss with this
    acronym.)

    References:
        Liu et al., "Powerful-IoU" (Neural Networks 2024, S0893608023006640).

    Range:
        [0, 2) for version 1, [0, 2.58) for version 2.

    Degenerate boxes:
        eps is added to the sides of the target. An inverted prediction costs the supremum more.
    """

    class Config(EpsConfig):
        version: Literal[1, 2] = 2
        """1: only the penalty; 2: with focus on boxes of medium quality."""
        lam: float = Field(1.3, ge=0.1, le=10)
        """lambda of version 2: the weight is highest where exp(-P) is 1 / (lambda sqrt 2)."""
        detach_q: bool = False
        """Treat the quality q of version 2 as a weight, without gradient: the safer choice for training."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, SUPREMUM)
    invariances = frozenset({"translation", "scale", "axis_scale"})

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.iou_term = self.config.version == 1

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        p = (pair.difference.abs().sum(1) / (pair.target_size + eps)).sum(0) / 4
        loss = 1 - pair.iou(eps) - torch.expm1(-p.square())
        if self.config.version == 2:
            q = torch.exp(-p)
            x = self.config.lam * (q.detach() if self.config.detach_q else q)
            loss = 3 * x * torch.exp(-x.square()) * loss
        return loss + SUPREMUM * pair.inverted
