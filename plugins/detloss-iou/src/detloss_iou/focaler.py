"""Focaler-IoU: a wrapper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor

from detloss.boxes import iou
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, NestedSpec
from detloss_iou.base import build_iou_base, extras_for

__all__ = ["FocalerIoULoss"]


class FocalerIoULoss(BoxRegressionLoss):
    """Focaler-IoU: ``L_base + IoU - clip((IoU - d) / (u - d), 0, 1)`` (Zhang & Zhang, 2024, arXiv 2401.10525).

    Formula::

        L = L_base + IoU - IoU_focaler,    IoU_focaler = clip((IoU - d) / (u - d), 0, 1)

    ``IoU_focaler`` takes the place of the IoU in the base, whose penalties stay as they are: the IoU has no gradient
    below ``d`` and above ``u``, and a steeper one between, so that easy (low ``u``) or hard samples (high ``d``) are
    attended to. Nothing is detached beyond what the base detaches; degenerate boxes are the base's matter.

    Range: that of the base; [0, 1] for iou.

    Recommended weights: none published: 10 and 2 are detloss's own starting point, the scale of GIoU.

    Raises:
        ConfigError: The base is not ``1 - IoU`` plus a penalty, so there is no IoU to replace.
    """

    class Config(LossConfig):
        """Parameters of Focaler-IoU."""

        base: NestedSpec = NestedSpec(name="iou")
        """The loss whose IoU is replaced: a name, or a name and its parameters."""
        d: float = Field(0.0, ge=0, lt=1)
        """IoU at and below which the IoU counts as 0."""
        u: float = Field(0.95, gt=0, le=1)
        """IoU at and above which it counts as 1."""
        eps: float = Field(1e-7, gt=0)
        """Square pixels added to the union of the IoU."""

        @model_validator(mode="after")
        def _ordered(self) -> FocalerIoULoss.Config:
            if self.d >= self.u:
                raise ValueError(f"d = {self.d:g} must be below u = {self.u:g}")
            return self

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
        self.base = build_iou_base(self.config.base, "focaler")

    def forward(
        self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None, anchors: Tensor | None = None
    ) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes; ``image_size`` and ``anchors`` are for the base."""
        extras = extras_for(self.base, image_size=image_size, anchors=anchors)
        loss: Tensor = self.base(pred, target, **extras)
        d, u = self.config.d, self.config.u
        overlap = iou(pred, target, self.config.eps)
        return loss + overlap - ((overlap - d) / (u - d)).clamp(0, 1)
