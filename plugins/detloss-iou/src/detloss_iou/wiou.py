"""Wise-IoU loss."""

import math
from typing import Any, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes, squared_length
from detloss.loss import GIOU_SCALE, BoxRegressionLoss, LossConfig
from detloss_iou.eps import EpsConfig

PAPER_MOMENTUM = 1 - 0.05 ** (1 / (34 * 890))
"""About 1e-4: after the paper's 34 epochs of 890 batches, 5 % of the running mean's first value is left."""


class WIoULoss(BoxRegressionLoss):
    """Wise-IoU: ``r (1 - IoU) exp(rho² / sg(c²))``.

    Formula::

        L1 = (1 - IoU) exp(rho² / sg(c²))                        version 1
        L2 = sg(beta)^gamma L1                                   version 2
        L3 = r L1,    r = beta / (delta alpha^(beta - delta))    version 3
        beta = sg(1 - IoU) / mean

    ``rho`` is the distance of the centers, ``c`` the diagonal of the smallest enclosing box. ``sg`` detaches, so that
    enlarging the enclosing box does not reduce the loss. ``beta`` (how far the pair is an outlier) and ``r`` are
    detached too. Version 3 gives the largest gradients to pairs of ordinary quality, and none to a perfect one.

    ``mean`` is the running mean of ``1 - IoU``, the buffer ``iou_mean`` (versions 2 and 3). It starts at 1. In training
    mode it is updated before use, with the mean over the batch of all DDP ranks. An empty batch and evaluation mode do
    not change it. Every rank must call the loss equally often, with an empty batch if necessary. The update is in
    place, as in batch norm, so ``vmap`` works only in evaluation mode.

    References:
        Tong et al., 2023, arXiv 2301.10051.

    Range:
        [0, e) in version 1, else [0, inf).

    Degenerate boxes:
        A pair without area has IoU 0. An inverted prediction costs a factor of e more.
    """

    class Config(EpsConfig):
        version: Literal[1, 2, 3] = 3
        """The paper's version: 1 has no focusing, 2 a monotonic one, 3 a non-monotonic one."""
        alpha: float = Field(1.9, ge=1.1, le=10)
        """Version 3: how fast outliers lose weight."""
        delta: float = Field(3.0, ge=0.1, le=10)
        """Version 3: the ``beta`` at which the weight is 1."""
        gamma: float = Field(0.5, ge=0, le=1)
        """Version 2: exponent of ``beta``."""
        momentum: float = Field(PAPER_MOMENTUM, ge=1e-6, le=1)
        """Share of each batch in the running mean; the default is the paper's."""

    config: Config
    recommended_weights = GIOU_SCALE
    invariances = frozenset({"translation", "scale", "symmetry"})
    batch_dependent = True

    iou_mean: Tensor

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.batch_dependent = self.config.version > 1
        if self.batch_dependent:
            self.register_buffer("iou_mean", torch.tensor(1.0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, eps = pair_boxes(pred, target), self.config.eps
        iou_loss = 1 - pair.iou(eps)
        c2 = squared_length(pair.enclosing.detach())
        attention = torch.exp(squared_length(pair.offset) / (c2 + eps)) + math.e * pair.inverted
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
        # Without the NaN of a step that a gradient scaler or the guard skips: the mean would stay NaN.
        sum_and_count = torch.stack([iou_loss.nansum(), (~iou_loss.isnan()).sum(dtype=iou_loss.dtype)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sum_and_count)
        batch_sum, count = sum_and_count.to(self.iou_mean.dtype).unbind()
        # No condition in Python: it would wait for the device and break the graph of torch.compile.
        self.iou_mean.lerp_(batch_sum / count.clamp(min=1), self.config.momentum * (count > 0))
