"""Wise-IoU loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.distributed as dist
from pydantic import Field, model_validator
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["WIoULoss"]

PAPER_MOMENTUM = 1 - 0.05 ** (1 / (34 * 890))
"""About 1e-4: after the paper's 34 epochs of 890 batches, 5 % of the running mean's first value is left."""

MAX_EXPONENT = 80.0
"""Largest delta ln(alpha), up to which alpha^delta is safe: exp(88.7) is the largest power of e that float32 holds."""


class WIoULoss(BoxRegressionLoss):
    """Wise-IoU: ``r (1 - IoU) exp(rho² / sg(c²))``, r set by the running mean (Tong et al., 2023, arXiv 2301.10051).

    Formula::

        L1 = (1 - IoU) exp(rho² / sg(c²))                        version 1
        L2 = sg(beta)^gamma L1                                   version 2
        L3 = r L1,    r = beta / (delta alpha^(beta - delta))    version 3
        beta = sg(1 - IoU) / mean

    ``rho`` is the distance of the centres, ``c`` the diagonal of the smallest enclosing box and ``sg`` detaches:
    enlarging the enclosing box must not pay. ``beta``, how much of an outlier the pair is, and ``r`` are detached too.
    Version 3 gives the largest gradients to pairs of ordinary quality, and none to a perfect one. Nothing special
    happens to a pair without area; an inverted prediction costs a factor e more than its sides, which count as 0,
    would.

    ``mean`` is the running mean of ``1 - IoU``, the buffer ``iou_mean`` (versions 2 and 3). It starts at 1 and is
    updated in training mode, before use, with the mean over the batch of all DDP ranks; an empty batch leaves it as
    it is, and so does evaluation mode. Every rank must call the loss equally often, with an empty batch if need be.
    The update is in place, as in batch norm, so ``vmap`` works in evaluation mode only.

    Range: [0, e) in version 1, else [0, inf).

    Recommended weights: none published for these heads: 10 in the R-CNN box head and 2 in the others are detloss's
    own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of Wise-IoU."""

        version: Literal[1, 2, 3] = 3
        """Which of the paper's three forms: 1 has no focusing, 2 a monotonic one, 3 a non-monotonic one."""
        alpha: float = Field(1.9, gt=1)
        """Version 3: how fast outliers lose weight."""
        delta: float = Field(3.0, gt=0)
        """Version 3: the ``beta`` at which the weight is 1."""
        gamma: float = Field(0.5, ge=0)
        """Version 2: exponent of ``beta``."""
        momentum: float = Field(PAPER_MOMENTUM, gt=0, le=1)
        """Share of the running mean that each batch renews; the default is the paper's."""
        eps: float = Field(1e-7, gt=0)
        """Added to every denominator (px², and to ``mean``), so that boxes without area give finite results."""

        @model_validator(mode="after")
        def _exponent_fits(self) -> WIoULoss.Config:
            if (exponent := self.delta * math.log(self.alpha)) > MAX_EXPONENT:
                raise ValueError(
                    f"delta ln(alpha) is {exponent:g}, and alpha^delta must fit into float32: keep it at or below "
                    f"{MAX_EXPONENT:g}"
                )
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
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "scale", "symmetry"})
    batch_dependent = True

    iou_mean: Tensor

    def __init__(self, config: Config | None = None, **params: object) -> None:
        super().__init__(config, **params)
        self.batch_dependent = self.config.version > 1
        if self.batch_dependent:
            self.register_buffer("iou_mean", torch.tensor(1.0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou_loss = 1 - pair.iou(eps)
        dx, dy, cw, ch = pair.dx, pair.dy, pair.cw.detach(), pair.ch.detach()
        attention = torch.exp((dx * dx + dy * dy) / (cw * cw + ch * ch + eps)) + math.e * pair.inverted
        return self._focusing(iou_loss.detach()) * attention * iou_loss

    def _focusing(self, iou_loss: Tensor) -> Tensor | float:
        version, alpha, delta = self.config.version, self.config.alpha, self.config.delta
        if version == 1:
            return 1.0
        if self.training:
            self._update_mean(iou_loss)
        beta = iou_loss / (self.iou_mean + self.config.eps)
        if version == 2:
            return beta**self.config.gamma
        return beta / (delta * alpha ** (beta - delta))

    def _update_mean(self, iou_loss: Tensor) -> None:
        sum_and_count = torch.stack([iou_loss.sum(), iou_loss.new_full((), iou_loss.numel())])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sum_and_count)
        batch_sum, count = sum_and_count.to(self.iou_mean.dtype).unbind()
        # No condition in Python: it would wait for the device, and break the graph of torch.compile.
        self.iou_mean.lerp_(batch_sum / count.clamp(min=1), self.config.momentum * (count > 0))
