"""Inner-IoU: a wrapper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from detloss.boxes import bounded, iou, scaled
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, NestedSpec
from detloss_iou.base import build_iou_base, extras_for

__all__ = ["InnerIoULoss"]


class InnerIoULoss(BoxRegressionLoss):
    """Inner-IoU: ``L_base + IoU - IoU_inner`` of any IoU loss (Zhang et al., 2023, arXiv 2311.02877).

    Formula::

        L = L_base + IoU - IoU_inner

    ``IoU_inner`` is the IoU of the two boxes scaled by ``ratio`` about their own centres; it takes the place of the IoU
    in the base, whose penalties keep the original boxes. A ratio below 1 gives boxes of high IoU larger
    gradients, one above 1 gives small objects, which overlap little, more to follow; 1 is the base itself. Nothing is
    detached beyond what the base detaches; degenerate boxes are the base's matter.

    Range: that of the base; [0, 1] for iou.

    Recommended weights: none published: 10 and 2 are detloss's own starting point, the scale of GIoU.

    Raises:
        ConfigError: The base is not ``1 - IoU`` plus a penalty, so there is no IoU to replace.
    """

    class Config(LossConfig):
        """Parameters of Inner-IoU."""

        base: NestedSpec = NestedSpec(name="iou")
        """The loss whose IoU is replaced: a name, or a name and its parameters."""
        ratio: float = Field(0.7, gt=0)
        """Factor on the sides of both boxes; the paper uses 0.5 to 1.5."""
        eps: float = Field(1e-7, gt=0)
        """Square pixels added to the unions of the two IoUs."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 2.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation"})

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.base = build_iou_base(self.config.base, "inner")

    def forward(
        self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None, anchors: Tensor | None = None
    ) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes; ``image_size`` and ``anchors`` are for the base."""
        extras = extras_for(self.base, image_size=image_size, anchors=anchors)
        loss: Tensor = self.base(pred, target, **extras)
        pred, target = bounded(pred), bounded(target)
        ratio, eps = self.config.ratio, self.config.eps
        return loss + iou(pred, target, eps) - iou(scaled(pred, ratio), scaled(target, ratio), eps)
