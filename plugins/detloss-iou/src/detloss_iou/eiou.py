"""Efficient IoU loss."""

from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class EIoULoss(BoxRegressionLoss):
    """Efficient IoU: ``1 - IoU + rho²/c² + dw²/cw² + dh²/ch²``.

    ``rho`` is the distance of the centers, ``c`` the diagonal of the smallest enclosing box and ``cw, ch`` its sides;
    ``dw = w - W`` and ``dh = h - H`` compare the sides; CIoU compares their ratio. Nothing is detached.
    (mmdetection's ``EIoULoss`` is another loss: ``extended_eiou``.)

    References:
        Zhang et al., 2021, arXiv 2101.08158.

    Range:
        [0, 3.25]; its end is a box without height at the corner of one without width.

    Degenerate boxes:
        A pair without area has the value 1 plus its penalties. An inverted prediction costs 3.25 more.
    """

    Config = EpsConfig
    config: EpsConfig
    recommended_weights = GIOU_SCALE
    value_range = (0.0, 3.25)
    invariances = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        loss = 1 - pair.iou(eps) + pair.center_distance(eps) + pair.side_difference(eps)
        return loss + self.value_range[1] * pair.inverted
