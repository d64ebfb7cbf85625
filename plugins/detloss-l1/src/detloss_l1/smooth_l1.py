"""Smooth L1 loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, Space

__all__ = ["SmoothL1Loss"]


class SmoothL1Loss(BoxRegressionLoss):
    """Smooth L1: ``d²/(2 beta)`` near 0, else ``|d| - beta/2`` (Girshick, ICCV 2015, arXiv 1504.08083).

    Formula::

        L = sum over x, y, w, h of   d² / (2 beta)    if |d| < beta
                                     |d| - beta / 2   otherwise

    ``d`` is the difference of an encoded delta, prediction minus target, without unit; ``beta`` is ``1 / sigma²`` of
    Faster R-CNN (Ren et al., arXiv 1506.01497). Nothing is detached. No deltas are degenerate; ``beta = 0`` is L1,
    with gradient 0 at ``d = 0``.

    Range: [0, inf).

    Recommended weights: published: 1, in the R-CNN box head, RPN and SSD of torchvision; the other dense heads take
    it over.
    """

    class Config(LossConfig):
        """Parameters of smooth L1."""

        beta: float = Field(1 / 9, ge=0)
        """Where the square meets the line, in units of the deltas; 0 is L1. The default is torchvision's."""

    config: Config

    space: ClassVar[Space] = "deltas"
    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 1.0,
        "rpn": 1.0,
        "retinanet": 1.0,
        "fcos": 1.0,
        "ssd": 1.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` deltas."""
        return smooth_l1_loss(pred, target, reduction="none", beta=self.config.beta).sum(-1)
