"""IoU loss."""

import math
from typing import Any, Literal

from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss, LossConfig
from detloss_iou.eps import EpsConfig

IOU_FLOOR = 1e-6
"""Smallest IoU for the logarithm, so that disjoint boxes have a finite value; as in mmdetection."""


class IoULoss(BoxRegressionLoss):
    """IoU loss: ``1 - IoU``, ``1 - IoU²`` or ``-ln IoU``.

    ``IoU = I / U`` is the intersection over the union. Nothing is detached. Disjoint boxes have the largest value and
    no gradient: use it if matches overlap, or use GIoU.

    References:
        ``linear``: Rezatofighi et al., CVPR 2019, arXiv 1902.09630; ``square``: Ge et al., YOLOX, 2021, arXiv
        2107.08430; ``log``: Yu et al., UnitBox, ACM MM 2016, arXiv 1608.01471.

    Range:
        [0, 1] for linear and square, [0, 13.82] for log, with an IoU of at least 1e-6.

    Degenerate boxes:
        A pair without area, and an inverted prediction, have the largest value.

    Recommended weights:
        Published: 10 in the R-CNN box head (mmdetection, log) and 1 in FCOS (its authors, log). None for other heads.
    """

    class Config(EpsConfig):
        mode: Literal["linear", "square", "log"] = "linear"
        """The function of the IoU."""

    config: Config
    recommended_weights = GIOU_SCALE | {"fcos": 1.0}
    value_range = (0.0, -math.log(IOU_FLOOR))
    invariances = frozenset({"translation", "scale", "axis_scale", "symmetry"})

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
