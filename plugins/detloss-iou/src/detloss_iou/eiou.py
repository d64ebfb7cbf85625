"""Efficient IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["EIoULoss"]


class EIoULoss(BoxRegressionLoss):
    """Efficient IoU: ``1 - IoU + rho²/c² + dw²/cw² + dh²/ch²`` (Zhang et al., 2021, arXiv 2101.08158).

    Formula::

        L = 1 - IoU + rho² / c² + (w - W)² / cw² + (h - H)² / ch²

    ``rho`` is the distance of the centres, ``c`` the diagonal of the smallest enclosing box and ``cw, ch`` its sides,
    ``w, h`` and ``W, H`` the sides of prediction and target. It compares the sides themselves where CIoU compares
    their ratio. Nothing is detached. A pair without area has the value 1 plus its penalties; an inverted prediction
    costs 3.25 more than its sides, which count as 0, would. It is not mmdetection's ``EIoULoss``: that is
    ``extended_eiou``.

    Range: [0, 3.25]; the end is that of a box without height at the corner of one without width.

    Recommended weights: none published for these heads: 10 in the R-CNN box head and 2 in the others are detloss's
    own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of EIoU."""

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
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        loss = 1 - pair.iou(eps) + pair.center_distance(eps) + pair.side_difference(eps)
        return loss + self.value_range[1] * pair.inverted
