"""Distance IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["DIoULoss"]


class DIoULoss(BoxRegressionLoss):
    """Distance IoU: ``1 - IoU + rho² / c²`` (Zheng et al., AAAI 2020, arXiv 1911.08287).

    Formula::

        L = 1 - IoU + rho² / c²

    ``rho`` is the distance of the two centres and ``c`` the diagonal of the smallest box that encloses both. Unlike
    GIoU's, the penalty acts inside an enclosing box too, and it is 0 for concentric boxes. Nothing is detached. A pair
    without area has the value 1 plus its penalty; an inverted prediction costs 2 more than its sides, which count as
    0, would.

    Range: [0, 2).

    Recommended weights: published: 12 in the R-CNN box head (authors' code). For the others none is published: 2 is
    detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of DIoU."""

        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px, px²), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 12.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        loss = 1 - pair.iou(eps) + pair.center_distance(eps)
        return loss + self.value_range[1] * pair.inverted
