"""Focaler-IoU: a wrapper."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import Tensor

from detloss.boxes import iou
from detloss_iou.wrapper import IoUWrapper


class FocalerIoULoss(IoUWrapper):
    """Focaler-IoU: ``L_base + IoU - clip((IoU - d)/(u - d), 0, 1)``.

    The clipped IoU replaces the IoU of the base; the penalties stay. It has no gradient below ``d`` and above ``u``,
    and a steeper one between, for easy samples (low ``u``) or hard ones (high ``d``).

    References:
        Zhang & Zhang, 2024, arXiv 2401.10525.

    Range:
        That of the base; [0, 1] for iou.

    Degenerate boxes:
        Those of the base.
    """

    class Config(IoUWrapper.Config):
        d: float = Field(0.0, ge=0, le=0.99)
        """An IoU up to this counts as 0."""
        u: float = Field(0.95, ge=0.01, le=1)
        """An IoU from this counts as 1."""

        @model_validator(mode="after")
        def _ordered(self) -> FocalerIoULoss.Config:
            if self.d >= self.u:
                raise ValueError(f"d = {self.d:g} must be below u = {self.u:g}")
            return self

    space = "boxes"
    config: Config

    def forward(
        self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None, anchors: Tensor | None = None
    ) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        loss = self.base_loss(pred, target, image_size=image_size, anchors=anchors)
        d, u = self.config.d, self.config.u
        overlap = iou(pred, target, self.eps)
        return loss + overlap - ((overlap - d) / (u - d)).clamp(0, 1)
