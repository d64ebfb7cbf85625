"""Focal efficient IoU loss."""

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class FocalEIoULoss(BoxRegressionLoss):
    """Focal EIoU: ``IoU**gamma EIoU``.

    EIoU with more weight on boxes that already fit well. The weight is detached: otherwise its slope at IoU 0 would be
    infinite, and its gradient would oppose EIoU's on some pairs. So disjoint boxes have the value 0 and no gradient.

    References:
        Zhang et al., 2021, arXiv 2101.08158.

    Range:
        [0, 3.25], that of EIoU.

    Degenerate boxes:
        A pair without area has the value 0. An inverted prediction costs 3.25.
    """

    class Config(EpsConfig):
        gamma: float = Field(0.5, ge=0, le=10)
        """Exponent of the weight; 0 is EIoU."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, 3.25)
    invariances = frozenset({"translation", "scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou = pair.iou(eps)
        eiou = 1 - iou + pair.center_distance(eps) + pair.side_difference(eps)
        return iou.detach() ** self.config.gamma * eiou + self.value_range[1] * pair.inverted
