"""Bounded IoU loss."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class BoundedIoULoss(BoxRegressionLoss):
    """Bounded IoU: ``sum of smooth_l1(1 - IoU_b) over x, y, w, h``.

    ``IoU_b(x) = max(0, (W - 2 |dx|) / (W + 2 |dx|))`` and ``IoU_b(w) = min(w / W, W / w)``: the largest possible IoU if
    only that parameter were wrong. Nothing is detached.

    References:
        Tychsen-Smith & Petersson, CVPR 2018, arXiv 1711.00164.

    Range:
        [0, 4); [0, 3.6] with ``beta = 0.2``.

    Degenerate boxes:
        A side of length 0, in prediction or target, is a complete miss. An inverted prediction costs 4 more.

    Recommended weights:
        Published: 10 in the R-CNN box head, 1 in the RPN (mmdetection, shape loss of guided anchoring).
    """

    class Config(EpsConfig):
        beta: float = Field(0.2, ge=1e-3, le=1)
        """Where the square meets the line, in units of ``1 - IoU``."""

    config: Config
    recommended_weights = GIOU_SCALE | {"rpn": 1.0}
    value_range = (0.0, 4.0)
    invariances = frozenset({"translation", "scale", "axis_scale"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair = pair_boxes(pred, target)
        distance = 2 * pair.offset.abs()
        of_offset = ((pair.target_size - distance) / (pair.target_size + distance + self.config.eps)).relu()
        larger = (pair.size + pair.target_size + (pair.size - pair.target_size).abs()) / 2
        of_side = (pair.size + pair.target_size - larger) / (larger + self.config.eps)
        bounds = torch.cat([of_offset, of_side])
        loss = smooth_l1_loss(bounds, torch.ones_like(bounds), reduction="none", beta=self.config.beta).sum(0)
        return loss + self.value_range[1] * pair.inverted
