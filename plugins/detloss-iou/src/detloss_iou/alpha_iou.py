"""Alpha-IoU loss."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from detloss.boxes import area, pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class AlphaIoULoss(BoxRegressionLoss):
    """Alpha-IoU: ``1 - IoU**alpha + penalty**alpha``.

    Formula::

        L = 1 - IoU^alpha                                        base iou
                          + ((C - U) / C)^alpha                  base giou
                          + (rho² / c²)^alpha                    base diou
                          + (rho² / c²)^alpha + (beta v)^alpha   base ciou

    The symbols are those of ``giou``, ``diou`` and ``ciou``; ``beta = v / (1 - IoU + v)`` uses the plain IoU and is
    detached. With ``alpha`` above 1, boxes that fit well get larger gradients. Below ``eps`` a power is a straight
    line, because the slope of ``x^alpha`` would be infinite for ``alpha`` below 1.

    References:
        He et al., NeurIPS 2021, arXiv 2110.13675.

    Range:
        [0, 3); [0, 1] with base iou, [0, 2) with giou and diou.

    Degenerate boxes:
        A pair without area has the value 1 plus its penalties. An inverted prediction costs 3 more.

    Recommended weights:
        Published: 1 in the R-CNN box head (the author, Jacobi93/Alpha-IoU, issue 13). None for other heads on this
        scale.
    """

    class Config(EpsConfig):
        alpha: float = Field(3.0, ge=0.1, le=10)
        """The power."""
        base: Literal["iou", "giou", "diou", "ciou"] = "iou"
        """The loss whose terms get the power."""

    config: Config
    recommended_weights = GIOU_SCALE | {"roi_heads": 1.0}
    value_range = (0.0, 3.0)
    invariances = frozenset({"translation", "scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou = pair.iou(eps)
        loss = 1 - self._power(iou)
        match self.config.base:
            case "giou":
                enclosing = area(pair.enclosing)
                # By rounding, C may be below U, where a power below 1 is steep.
                loss = loss + self._power((enclosing - pair.union).relu() / (enclosing + eps))
            case "diou":
                loss = loss + self._power(pair.center_distance(eps))
            case "ciou":
                v = pair.aspect_difference(eps)
                beta = (v / (1 - iou + v + eps)).detach()
                loss = loss + self._power(pair.center_distance(eps)) + self._power(beta * v)
        return loss + self.value_range[1] * pair.inverted

    def _power(self, x: Tensor) -> Tensor:
        # x^alpha from eps up; x eps^(alpha - 1), the line from the origin to that point, below.
        return x * x.clamp(min=self.config.eps) ** (self.config.alpha - 1)
