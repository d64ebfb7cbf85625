"""Generalized IoU loss."""

from torch import Tensor

from detloss.boxes import area, pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class GIoULoss(BoxRegressionLoss):
    """Generalized IoU: ``1 - IoU + (C - U) / C``.

    ``IoU = I / U``; ``I``, ``U`` and ``C`` are the areas of the intersection, of the union and of the smallest box that
    encloses both. The penalty pulls disjoint boxes together, where the IoU has no gradient. Nothing is detached.

    References:
        Rezatofighi et al., CVPR 2019, arXiv 1902.09630.

    Range:
        [0, 2).

    Degenerate boxes:
        A pair without area has the value 1. An inverted prediction counts as without area and costs 2 more.

    Recommended weights:
        Published: 10 in the R-CNN box head (authors' code and mmdetection), 2 in the RPN (detectron2), 1 in RetinaNet
        and FCOS (torchvision's own). None for SSD.
    """

    Config = EpsConfig
    config: EpsConfig
    recommended_weights = GIOU_SCALE | {"retinanet": 1.0, "fcos": 1.0}
    value_range = (0.0, 2.0)
    invariances = frozenset({"translation", "scale", "axis_scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        enclosing = area(pair.enclosing)
        loss = 1 - pair.iou(eps) + (enclosing - pair.union) / (enclosing + eps)
        return loss + self.value_range[1] * pair.inverted
