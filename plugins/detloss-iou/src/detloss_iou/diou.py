"""Distance IoU loss."""

from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class DIoULoss(BoxRegressionLoss):
    """Distance IoU: ``1 - IoU + rho² / c²``.

    ``rho`` is the distance of the centers, ``c`` the diagonal of the smallest box that encloses both. Unlike GIoU's,
    the penalty acts inside an enclosing box too, and it is 0 for concentric boxes. Nothing is detached.

    References:
        Zheng et al., AAAI 2020, arXiv 1911.08287.

    Range:
        [0, 2).

    Degenerate boxes:
        A pair without area has the value 1 plus its penalty. An inverted prediction counts as without area and costs 2
        more.

    Recommended weights:
        Published: 12 in the R-CNN box head (authors' code). None for other heads.
    """

    Config = EpsConfig
    config: EpsConfig
    recommended_weights = GIOU_SCALE | {"roi_heads": 12.0}
    value_range = (0.0, 2.0)
    invariances = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        loss = 1 - pair.iou(eps) + pair.center_distance(eps)
        return loss + self.value_range[1] * pair.inverted
