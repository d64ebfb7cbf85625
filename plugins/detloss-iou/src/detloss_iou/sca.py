"""Side and corner aligned loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import distance, pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["SCALoss"]

SIDE_SUPREMUM = 4.0
"""Largest value of the side term: the overlap of boxes far apart is minus the enclosing side, in both axes."""
CORNER_SUPREMUM = 2.0
"""Largest value of the corner term: either corner is off by less than the enclosing diagonal."""


class SCALoss(BoxRegressionLoss):
    """Side and corner aligned: ``2 - SO + alpha CD`` (Zheng et al., AAAI 2022, arXiv 2104.00462).

    Formula::

        L  = 2 - SO + alpha CD
        SO = overlap_x / cw + overlap_y / ch
        CD = (|lt - lt_gt| + |rb - rb_gt|) / sqrt(cw² + ch²)

    ``overlap`` is the signed length of the intersection in one axis, minus the gap where the boxes are disjoint;
    ``cw, ch`` are the sides of the smallest enclosing box; ``lt, rb`` the left top and right bottom corners. No IoU is
    in it, and disjoint boxes have a gradient. Nothing is detached. eps is added to every denominator; an inverted
    prediction costs the supremum, 4 + 2 alpha, more than its sides, which count as 0, would.

    Range: [0, 4 + 2 alpha).

    Recommended weights: none published: 10 and 2 are detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of the side and corner aligned loss."""

        alpha: float = Field(1.0, ge=0)
        """Weight of the corner distance."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, alpha, eps = pair_boxes(pred, target), self.config.alpha, self.config.eps
        cw, ch = pair.cw, pair.ch
        side = 2 - pair.overlap_w / (cw + eps) - pair.overlap_h / (ch + eps)
        lt = distance(pair.x1 - pair.target_x1, pair.y1 - pair.target_y1)
        rb = distance(pair.x2 - pair.target_x2, pair.y2 - pair.target_y2)
        corner = (lt + rb) / (distance(cw, ch) + eps)
        return side + alpha * corner + (SIDE_SUPREMUM + alpha * CORNER_SUPREMUM) * pair.inverted
