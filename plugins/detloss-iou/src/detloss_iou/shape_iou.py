"""Shape-IoU loss."""

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes, squared_length
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class ShapeIoULoss(BoxRegressionLoss):
    """Shape-IoU: ``1 - IoU + d_shape + Omega / 2``.

    ``d_shape = (hh dx² + ww dy²) / c²``; ``Omega`` is ``(1 - exp(-hh |w - W| / max(w, W)))^theta`` and the same of the
    heights with ``ww``. The weights are the target's: ``ww = 2 W^s / (W^s + H^s) = 2 - hh``. Nothing is detached.

    References:
        Zhang & Zhang, 2023, arXiv 2312.17663.

    Range:
        [0, 3.44): 1 for the IoU, 2 for the distance, (1 - exp(-2)) / 2 for the shape; at the defaults [0, 2.16).

    Degenerate boxes:
        A pair without area has finite terms by eps. An inverted prediction costs 3.44 more.
    """

    class Config(EpsConfig):
        scale: float = Field(0.0, ge=0, le=100)
        """Exponent s of the target's sides; in the paper it depends on the size of the objects."""
        theta: float = Field(4.0, ge=1, le=10)
        """Exponent of the shape cost; the paper's."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, 3.44)
    invariances = frozenset({"translation", "scale"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        # hh = 2 H^s / (W^s + H^s) = 2 W^-s / (W^-s + H^-s), and a softmax never overflows.
        weights = 2 * torch.softmax(-self.config.scale * (pair.target_size + eps).log(), dim=0)
        offset = pair.offset
        distance = (weights * offset * offset).sum(0) / (squared_length(pair.enclosing) + eps)
        shape = ((-torch.expm1(-weights * pair.side_mismatch(eps))) ** self.config.theta).sum(0)
        return 1 - pair.iou(eps) + distance + shape / 2 + self.value_range[1] * pair.inverted
