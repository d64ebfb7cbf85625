"""Huber loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import huber_loss

from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, Space

__all__ = ["HuberLoss"]


class HuberLoss(BoxRegressionLoss):
    """Huber: ``d²/2`` near 0, else ``delta (|d| - delta/2)`` (Huber, Ann. Math. Stat. 1964).

    Formula::

        L = sum over x, y, w, h of   d² / 2                    if |d| <= delta
                                     delta (|d| - delta / 2)   otherwise

    ``d`` is the difference of an encoded delta, prediction minus target, without unit. It is ``delta`` times smooth
    L1 with ``beta = delta``. Nothing is detached. No deltas are degenerate.

    Range: [0, inf).

    Recommended weights: none published: 1 is taken over from smooth L1, which it equals at ``delta = 1``.
    """

    class Config(LossConfig):
        """Parameters of Huber."""

        delta: float = Field(1.0, gt=0)
        """Where the square meets the line, in units of the deltas; also the largest slope."""

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
        return huber_loss(pred, target, reduction="none", delta=self.config.delta).sum(-1)
