"""Normalized Wasserstein distance loss."""

import math

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import bounded, inverted
from detloss.loss import GIOU_SCALE, BoxRegressionLoss, LossConfig


class NWDLoss(BoxRegressionLoss):
    """Normalized Wasserstein distance: ``1 - exp(-W / C)``.

    ``W² = dx² + dy² + ((w - w_gt)² + (h - h_gt)²) / 4`` is the squared Wasserstein distance, in pixels, between the
    Gaussians of the boxes, each with its box's center and covariance ``diag(w², h²) / 4``. Nothing is detached.

    References:
        Wang et al., 2021, arXiv 2110.13389.

    Range:
        [0, 1].

    Degenerate boxes:
        There is no eps: at identical boxes value and gradient are 0. An inverted prediction costs 1 more.

    Recommended weights:
        Published: 10 in the RPN and 2 in dense heads (the authors' configs). None for the R-CNN box head.
    """

    class Config(LossConfig):
        constant: float = Field(12.8, ge=1e-3, le=1e6)
        """C in pixels: the mean object size of the data (the paper's is 12.8). An error of 80 C has no gradient."""

    config: Config
    recommended_weights = GIOU_SCALE | {"rpn": 10.0}
    value_range = (0.0, 1.0)
    invariances = frozenset({"translation", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        # In each axis dx² + ((w - w_gt) / 2)² = ((x1 - x1_gt)² + (x2 - x2_gt)²) / 2.
        distance = torch.linalg.vector_norm(bounded(pred) - bounded(target), dim=-1) / math.sqrt(2)
        return -torch.expm1(-distance / self.config.constant) + inverted(pred)
