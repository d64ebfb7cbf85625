"""L1 loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import l1_loss

from detloss.loss import BoxRegressionLoss, Invariance, Space

__all__ = ["L1Loss"]


class L1Loss(BoxRegressionLoss):
    """L1: ``|d|`` summed over the four deltas (least absolute deviations: Boscovich, 1757).

    Formula::

        L = sum over x, y, w, h of |d|

    ``d`` is the difference of an encoded delta, prediction minus target, without unit. Nothing is detached. The
    gradient is ``sign(d)``, and 0 at ``d = 0``. No deltas are degenerate.

    Range: [0, inf).

    Recommended weights: published: 1, in torchvision's RetinaNet; the other heads take it over, since torchvision
    weighs its coordinate losses with 1 everywhere.
    """

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
        return l1_loss(pred, target, reduction="none").sum(-1)
