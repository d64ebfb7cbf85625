"""Control distance IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import distance, pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["CDIoULoss"]


class CDIoULoss(BoxRegressionLoss):
    """Control distance IoU: ``1 - IoU + lam (mean corner distance) / c`` (Chen & Miao, 2021, arXiv 2103.11696).

    Formula::

        L     = 1 - IoU + lam diou
        diou  = (|AE| + |BF| + |CG| + |DH|) / (4 c)

    ``A B C D`` and ``E F G H`` are the four corners of prediction and target, ``c`` is the diagonal of the smallest
    enclosing box. The authors' code divides by 4 twice and compares anchors with deltas, so that no gradient comes of
    it; this is the formula. Nothing is detached. eps is added to every denominator; an inverted prediction costs the
    supremum, 1 + lam, more than its sides, which count as 0, would.

    Range: [0, 1 + lam].

    Recommended weights: none published: 10 and 2 are detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of control distance IoU."""

        lam: float = Field(1.0, ge=0)
        """lambda, the weight of the corner distance."""
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
    value_range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, lam, eps = pair_boxes(pred, target), self.config.lam, self.config.eps
        x1, y1 = pair.x1 - pair.target_x1, pair.y1 - pair.target_y1
        x2, y2 = pair.x2 - pair.target_x2, pair.y2 - pair.target_y2
        corners = distance(x1, y1) + distance(x2, y1) + distance(x1, y2) + distance(x2, y2)
        penalty = corners / (4 * (distance(pair.cw, pair.ch) + eps))
        return 1 - pair.iou(eps) + lam * penalty + (1 + lam) * pair.inverted
