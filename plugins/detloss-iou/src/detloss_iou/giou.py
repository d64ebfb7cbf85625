"""Generalized IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["GIoULoss"]


class GIoULoss(BoxRegressionLoss):
    """Generalized IoU: ``1 - IoU + (C - U) / C`` (Rezatofighi et al., CVPR 2019, arXiv 1902.09630).

    Formula::

        L = 1 - IoU + (C - U) / C,    IoU = I / U

    ``I``, ``U`` and ``C`` are the areas of the intersection, of the union and of the smallest box that encloses both;
    ``C - U`` is the part of that box which belongs to neither. Disjoint boxes are pulled together, because the
    penalty still has a gradient where the IoU has none. Nothing is detached. A pair without area has the value 1; an
    inverted prediction costs 2 more than its sides, which count as 0, would.

    Range: [0, 2).

    Recommended weights: published: 10 in the R-CNN box head (authors' code and mmdetection), 2 in the RPN
    (detectron2), 1 in RetinaNet and FCOS (torchvision's own). For SSD none is published: 2 is detloss's own.
    """

    class Config(LossConfig):
        """Parameters of GIoU."""

        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px, px²), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 1.0,
        "fcos": 1.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "axis_scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        enclosing = pair.cw * pair.ch
        loss = 1 - pair.iou(eps) + (enclosing - pair.union) / (enclosing + eps)
        return loss + self.value_range[1] * pair.inverted
