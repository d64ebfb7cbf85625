"""Minimum point distance IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes, squared_norm
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["MPDIoULoss"]

LARGEST_INSIDE = 3.0
"""Bound of the loss for boxes inside the image: 1 for the IoU, and each corner is at most one diagonal away."""


class MPDIoULoss(BoxRegressionLoss):
    """Minimum point distance IoU: ``1 - IoU + (d1² + d2²) / (w² + h²)`` (Ma & Xu, 2023, arXiv 2307.07662).

    Formula::

        L = 1 - IoU + d1² / (w² + h²) + d2² / (w² + h²)

    ``d1`` and ``d2`` are the distances of the left top and of the right bottom corners, ``w, h`` is the size of the
    network input, in the pixels of the boxes: not the size of a box, and not an area. Nothing is detached. A pair
    without area has the value 1 plus its penalty; an inverted prediction costs 3 more than its sides, which count as
    0, would.

    Range: [0, 3) for boxes inside the image, else [0, inf).

    Recommended weights: none published for these heads: 10 in the R-CNN box head and 2 in the others are detloss's
    own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of MPDIoU."""

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
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "symmetry"})
    iou_term = True

    # The interface has no keyword: this loss asks for one, and a head that cannot supply it refuses the loss.
    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes.

        Args:
            pred: ``(N, 4)`` predicted boxes in pixels.
            target: ``(N, 4)`` target boxes in pixels.
            image_size: ``(N, 2)`` height and width in pixels of the network input that each box lies in.
        """
        pair, eps = pair_boxes(pred, target), self.config.eps
        d1 = (pair.x1 - pair.target_x1).square() + (pair.y1 - pair.target_y1).square()
        d2 = (pair.x2 - pair.target_x2).square() + (pair.y2 - pair.target_y2).square()
        loss = 1 - pair.iou(eps) + (d1 + d2) / (squared_norm(image_size) + eps)
        return loss + LARGEST_INSIDE * pair.inverted
