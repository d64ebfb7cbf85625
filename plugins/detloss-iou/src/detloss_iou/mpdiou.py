"""Minimum point distance IoU loss."""

from torch import Tensor

from detloss.boxes import pair_boxes, squared_length
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig

LARGEST_INSIDE = 3.0
"""Bound of the loss for boxes inside the image: 1 for the IoU, and at most one diagonal for each corner."""


class MPDIoULoss(BoxRegressionLoss):
    """Minimum point distance IoU: ``1 - IoU + (d1² + d2²)/D²``.

    ``d1`` and ``d2`` are the distances of the left top and of the right bottom corners. ``D`` is the diagonal of the
    network input in pixels, not that of a box. Nothing is detached.

    References:
        Ma & Xu, 2023, arXiv 2307.07662.

    Range:
        [0, 3) for boxes inside the image, else [0, inf).

    Degenerate boxes:
        A pair without area has the value 1 plus its penalty. An inverted prediction costs 3 more.
    """

    Config = EpsConfig
    config: EpsConfig
    recommended_weights = GIOU_SCALE
    invariances = frozenset({"translation", "symmetry"})
    iou_term = True

    # The interface has no such keyword: a head that cannot supply it refuses the loss.
    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes.

        Args:
            pred: ``(N, 4)`` predicted boxes in pixels.
            target: ``(N, 4)`` target boxes in pixels.
            image_size: ``(N, 2)`` height and width in pixels of the network input that each box lies in.
        """
        pair, eps = pair_boxes(pred, target), self.config.eps
        distances = squared_length(pair.difference).sum(0)
        loss = 1 - pair.iou(eps) + distances / (squared_length(image_size.movedim(-1, 0)) + eps)
        return loss + LARGEST_INSIDE * pair.inverted
