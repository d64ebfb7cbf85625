"""Control distance IoU loss."""

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import length, pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class CDIoULoss(BoxRegressionLoss):
    """Control distance IoU: ``1 - IoU + lam d / c``.

    ``d`` is the mean distance of the four corners, ``c`` the diagonal of the smallest enclosing box. This is the
    formula; the authors' code divides by 4 twice and compares anchors with deltas. Nothing is detached.

    References:
        Chen & Miao, 2021, arXiv 2103.11696.

    Range:
        [0, 1 + lam].

    Degenerate boxes:
        A pair without area has the value 1 plus its penalty. An inverted prediction costs the supremum more.
    """

    class Config(EpsConfig):
        lam: float = Field(1.0, ge=0, le=100)
        """lambda, the weight of the corner distance."""

    config: Config
    recommended_weights = GIOU_SCALE
    invariances = frozenset({"translation", "scale", "symmetry"})
    iou_term = True

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, lam, eps = pair_boxes(pred, target), self.config.lam, self.config.eps
        x, y = difference = pair.difference
        other_diagonal = torch.stack([x, y.flip(0)])
        corners = (length(difference) + length(other_diagonal)).sum(0)
        penalty = corners / (4 * (length(pair.enclosing) + eps))
        return 1 - pair.iou(eps) + lam * penalty + (1 + lam) * pair.inverted
