"""InterpIoU loss."""

import torch
from torch import Tensor

from detloss.boxes import pair_boxes, pair_corners
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig
from detloss_iou.interval import Fraction, Interval


class InterpIoULoss(BoxRegressionLoss):
    """InterpIoU: ``1 - IoU(P, G) + 1 - IoU(B, G)``.

    ``B = (1 - alpha) P + alpha G`` is between prediction and target and overlaps the target. So disjoint boxes have a
    gradient. In D-InterpIoU (``dynamic``), ``alpha`` is ``1 - IoU(P, G)``, limited to an interval and detached.

    References:
        Liu & Watanabe, 2025, arXiv 2507.12420.

    Range:
        [0, 2].

    Degenerate boxes:
        A pair without area has the value 2. An inverted prediction costs 2 more.
    """

    class Config(EpsConfig):
        alpha: Fraction = 0.98
        """How near B is to the target: 0 is the prediction, 1 the target."""
        dynamic: Interval | None = None
        """The lowest and the highest alpha of D-InterpIoU; null uses `alpha`."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, 2.0)
    invariances = frozenset({"translation", "scale", "axis_scale"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        loss = 1 - pair.iou(eps)
        alpha: float | Tensor = self.config.alpha
        if self.config.dynamic:
            alpha = loss.detach().clamp(*self.config.dynamic)
        between = torch.lerp(pair.corners, pair.target_corners, alpha)
        return loss + 1 - pair_corners(between, pair.target_corners).iou(eps) + self.value_range[1] * pair.inverted
