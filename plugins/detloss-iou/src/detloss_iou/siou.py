"""SCYLLA-IoU loss."""

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
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
        dx, dy = pair.dx, pair.dy
        # The paper's 1 - 2 sin²(arcsin(|dy| / rho) - π / 4), without an arcsin, whose gradient is infinite at 1.
        angle = 2 * (dx * dy).abs() / (dx * dx + dy * dy + eps)
        x_cost = torch.expm1((angle - 2) * (dx / (pair.cw + eps)).square())
        y_cost = torch.expm1((angle - 2) * (dy / (pair.ch + eps)).square())
        shape = self._shape_cost(pair.w, pair.target_w) + self._shape_cost(pair.h, pair.target_h)
        return 1 - pair.iou(eps) + (shape - x_cost - y_cost) / 2 + self.value_range[1] * pair.inverted

    def _shape_cost(self, side: Tensor, target_side: Tensor) -> Tensor:
        omega = (side - target_side).abs() / (torch.maximum(side, target_side) + self.config.eps)
        cost: Tensor = (-torch.expm1(-omega)) ** self.config.theta
        return cost
