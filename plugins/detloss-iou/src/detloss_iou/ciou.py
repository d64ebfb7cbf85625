"""Complete IoU loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["CIoULoss"]

GATE_IOU = 0.5
"""IoU above which the gated form compares aspect ratios (arXiv 2005.03572)."""


class CIoULoss(BoxRegressionLoss):
    """Complete IoU: ``1 - IoU + rho² / c² + alpha v`` (Zheng et al., AAAI 2020, arXiv 1911.08287).

    Formula::

        L = 1 - IoU + rho² / c² + alpha v
        v = 4 / π² (atan(W / H) - atan(w / h))²
        alpha = v / (1 - IoU + v)

    ``rho`` is the distance of the centres, ``c`` the diagonal of the smallest enclosing box, ``w, h`` and ``W, H`` the
    sides of prediction and target. ``alpha`` is detached, as in the paper. With ``gated``, ``alpha`` is 0 where the
    IoU is at most 0.5 (Zheng et al., IEEE Trans. Cybernetics 2021, arXiv 2005.03572; mmdetection does so,
    torchvision, detectron2 and the YOLO family do not). The gradient of ``v`` is in proportion to ``1 / (w² + h²)``,
    and is kept as the formula has it. A box of height 0 has finite gradients, because ``eps`` is added to the sides
    in ``v``; an inverted prediction costs 2.5 more than its sides, which count as 0, would.

    Range: [0, 2.5].

    Recommended weights: published: 12 in the R-CNN box head (authors' code, mmdetection). For the others none is
    published on this scale: 2 is detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of CIoU."""

        gated: bool = False
        """Compare the aspect ratios only where the IoU is above 0.5."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px, px²), so that boxes without area give a finite value and gradient."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 12.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 2.5)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})
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
