"""SCYLLA-IoU loss."""

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes, squared_length
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class SIoULoss(BoxRegressionLoss):
    """SCYLLA-IoU: ``1 - IoU + (distance + shape) / 2``.

    ``distance``: ``1 - exp((angle - 2) (dx / cw)²)`` over x and y, with ``angle = 2 |dx| |dy| / rho²``; ``shape``:
    ``(1 - exp(-|w - W| / max(w, W)))^theta`` over w and h. Nothing is detached, the angle included.

    References:
        Gevorgyan, 2022, arXiv 2205.12740.

    Range:
        [0, 2.5); [0, 2.03) with ``theta = 4``.

    Degenerate boxes:
        A pair without area has the value 1 plus its penalties. An inverted prediction costs 2.5 more.

    Recommended weights:
        Published: 2.5 in a dense head (YOLOv6-N), used for RetinaNet, FCOS and SSD. None for other heads.
    """

    class Config(EpsConfig):
        theta: float = Field(4.0, ge=1, le=10)
        """Exponent of the shape cost: the weight of small differences of the sides; 2 to 6 in the paper."""

    config: Config
    recommended_weights = GIOU_SCALE | dict.fromkeys(("retinanet", "fcos", "ssd"), 2.5)
    value_range = (0.0, 2.5)
    invariances = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        dx, dy = offset = pair.offset
        # The paper's 1 - 2 sin²(arcsin(|dy| / rho) - π / 4), without an arcsin, whose gradient is infinite at 1.
        angle = 2 * (dx * dy).abs() / (squared_length(offset) + eps)
        ratio = offset / (pair.enclosing + eps)
        cost = torch.expm1((angle - 2) * (ratio * ratio))
        shape = (-torch.expm1(-pair.side_mismatch(eps))) ** self.config.theta
        return 1 - pair.iou(eps) + (shape - cost).sum(0) / 2 + self.value_range[1] * pair.inverted
