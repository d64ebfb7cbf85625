"""Side and corner aligned loss."""

from pydantic import Field
from torch import Tensor

from detloss.boxes import length, pair_boxes
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_iou.eps import EpsConfig


class SCALoss(BoxRegressionLoss):
    """Side and corner aligned: ``2 - SO + alpha CD``.

    ``SO = overlap_x / cw + overlap_y / ch`` with the sides of the enclosing box and the signed length of the
    intersection in each axis: for disjoint boxes, minus the gap. ``CD`` is the sum of the distances of the left top and
    of the right bottom corners, over the diagonal of that box. Nothing is detached.

    References:
        Zheng et al., AAAI 2022, arXiv 2104.00462.

    Range:
        [0, 4 + 2 alpha): 4 for overlaps of minus the enclosing sides, 2 for corners a diagonal away.

    Degenerate boxes:
        A pair without area has finite terms by eps. An inverted prediction costs the supremum more.
    """

    class Config(EpsConfig):
        alpha: float = Field(1.0, ge=0, le=100)
        """Weight of the corner distance."""

    config: Config
    recommended_weights = GIOU_SCALE
    invariances = frozenset({"translation", "scale", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        pair, alpha, eps = pair_boxes(pred, target), self.config.alpha, self.config.eps
        enclosing = pair.enclosing
        side = 2 - (pair.overlap / (enclosing + eps)).sum(0)
        corner = length(pair.difference).sum(0) / (length(enclosing) + eps)
        return side + alpha * corner + (4 + 2 * alpha) * pair.inverted
