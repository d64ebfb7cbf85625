"""IoU loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["IoULoss"]

IOU_FLOOR = 1e-6
"""Smallest IoU whose logarithm is taken, so that disjoint boxes have a finite value; mmdetection's choice."""


class IoULoss(BoxRegressionLoss):
    """IoU loss: ``1 - IoU``, ``1 - IoU²`` or ``-ln IoU`` (Yu et al., ACM MM 2016, arXiv 1608.01471).

    Formula::

        L = 1 - IoU     linear   (Rezatofighi et al., CVPR 2019, arXiv 1902.09630)
            1 - IoU²    square   (Ge et al., YOLOX, 2021, arXiv 2107.08430)
            -ln IoU     log      (the paper, UnitBox; IoU is at least 1e-6 in it)

    ``IoU = I / U`` is the intersection over the union. Nothing is detached. Disjoint boxes, and boxes without area,
    have the largest value and no gradient at all: use it where matches overlap, or take GIoU.

    Range: [0, 1] for linear and square, [0, 13.82] for log.

    Recommended weights: published: 10 in the R-CNN box head (mmdetection, log) and 1 in FCOS (its authors, log). For
    the others none is published on this scale: 2 is detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of the IoU loss."""

        mode: Literal["linear", "square", "log"] = "linear"
        """Which function of the IoU is the loss."""
        eps: float = Field(1e-7, gt=0)
        """Added to the union (px²), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 1.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, -math.log(IOU_FLOOR))
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "axis_scale", "symmetry"})

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.iou_term = self.config.mode == "linear"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        iou = pair_boxes(pred, target).iou(self.config.eps)
        match self.config.mode:
            case "linear":
                return 1 - iou
            case "square":
                return 1 - iou.square()
            case "log":
                return -iou.clamp(min=IOU_FLOOR).log()
