"""Extended IoU loss."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.boxes import BoxPair, area, pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class ExtendedEIoULoss(BoxRegressionLoss):
    """Extended IoU: ``smooth_l1(1 - I / U)`` with a signed ``I``.

    For overlapping boxes, ``I`` is the intersection. For disjoint boxes it is negative and pulls them together.
    Nothing is detached. This is mmdetection's ``EIoULoss``; the EIoU of Zhang et al. is ``eiou``.

    References:
        Peng & Yu, "A systematic IoU-related method" (IEEE TIP 2021, document 9429909).

    Range:
        [0, 2).

    Degenerate boxes:
        A pair without area has ``I / U = 0``. An inverted prediction counts as without area and costs 2 more.
    """

    class Config(EpsConfig):
        smooth_point: float = Field(0.1, ge=1e-3, le=1)
        """Where the square meets the line, in units of ``1 - IoU``."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, 2.0)
    invariances = frozenset({"translation", "scale", "axis_scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair = pair_boxes(pred, target)
        signed = signed_intersection(pair)
        union = pair.union + pair.intersection - signed
        u = 1 - signed / (union + self.config.eps)
        loss = smooth_l1_loss(u, torch.zeros_like(u), reduction="none", beta=self.config.smooth_point)
        return loss + self.value_range[1] * pair.inverted


def signed_intersection(pair: BoxPair) -> Tensor:
    """Return the paper's signed area of the intersection.

    It is ``x2 y2 + xmin ymin - x1 ymax - xmax y1``.
    ``x1, y1, x2, y2`` are the corners of the overlap, relative to the left top of the enclosing box. They are inverted
    for disjoint boxes. ``xmin, xmax, ymin, ymax`` are the same numbers in order.
    """
    # With ox = x2 - x1 and gx = min(ox, 0) it is ox oy + gx gy + 2 (x1 gy + y1 gx).
    gap = -(-pair.overlap).relu()
    # The overlap ends before the enclosing box starts only for an inverted prediction: then its end is the origin.
    start = torch.maximum(pair.difference[:, 0].abs(), -pair.overlap)
    return area(pair.overlap) + area(gap) + 2 * (start * gap.flip(0)).sum(0)
