"""Complete IoU loss."""

from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class CIoULoss(BoxRegressionLoss):
    """Complete IoU: ``1 - IoU + rho² / c² + alpha v``.

    DIoU plus ``v = 4 / π² (atan(W / H) - atan(w / h))²``, which compares the aspect ratios of target and prediction.
    The weight ``alpha = v / (1 - IoU + v)`` is detached as in the paper. The gradient of ``v`` grows as
    ``1 / (w² + h²)``.

    References:
        Zheng et al., AAAI 2020, arXiv 1911.08287; ``gated``: Zheng et al., IEEE Trans. Cybernetics 2021, arXiv
        2005.03572 (mmdetection gates; torchvision, detectron2 and the YOLO family do not).

    Range:
        [0, 2.5].

    Degenerate boxes:
        eps is added to the sides in ``v`` too, for a box of height 0. An inverted prediction costs 2.5 more.

    Recommended weights:
        Published: 12 in the R-CNN box head (authors' code, mmdetection). None for other heads on this scale.
    """

    class Config(EpsConfig):
        gated: bool = False
        """Compare the aspect ratios only where the IoU is above 0.5."""

    config: Config
    recommended_weights = GIOU_SCALE | {"roi_heads": 12.0}
    value_range = (0.0, 2.5)
    invariances = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou, v = pair.iou(eps), pair.aspect_difference(eps)
        alpha = (v / (1 - iou + v + eps)).detach()
        if self.config.gated:
            alpha = alpha * (iou > GATE_IOU)
        loss = 1 - iou + pair.center_distance(eps) + alpha * v
        return loss + self.value_range[1] * pair.inverted


GATE_IOU = 0.5
"""IoU above which the gated form compares aspect ratios."""
