"""Gaussian Wasserstein distance loss."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import area, bounded, inverted, size
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_gaussian.eps import EpsConfig


class GWDLoss(BoxRegressionLoss):
    """Gaussian Wasserstein distance: ``1 - 1 / (tau + f(W²))``.

    ``W² = dx² + dy² + ((w - w_gt)² + (h - h_gt)²) / 4`` is the squared Wasserstein distance, in pixels, between the
    Gaussians of the two boxes, each with the box's center and covariance ``diag(w², h²) / 4``. ``f`` is the square
    root, ``ln(1 + W²)``, or nothing. With ``normalize``, ``W`` is divided by ``(w h w_gt h_gt)^(1/4)``, which makes the
    loss independent of the boxes' scale; only there eps is used. Nothing is detached.

    References:
        Yang et al., ICML 2021, arXiv 2101.11952.

    Range:
        [1 - 1/tau, 1].

    Degenerate boxes:
        At identical boxes the value is ``1 - 1/tau`` and the gradient 0. An inverted prediction costs 1 more.

    Recommended weights:
        None published in this form (mmrotate's 5 in RetinaNet is for ``ln(1 + W)`` without the quotient).
    """

    class Config(EpsConfig):
        fun: Literal["sqrt", "log1p", "none"] = "sqrt"
        """The function f of the squared distance."""
        tau: float = Field(2.0, ge=1, le=100)
        """Higher is flatter: the slope at small distances is 1 / tau²."""
        normalize: bool = False
        """Divide the distance by the geometric mean of the four sides."""

    config: Config
    recommended_weights = GIOU_SCALE
    value_range = (0.0, 1.0)
    minimum = None
    invariances = frozenset({"translation", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        fun, tau, eps = self.config.fun, self.config.tau, self.config.eps
        pred, target = bounded(pred), bounded(target)
        # In each axis dx² + ((w - w_gt) / 2)² = ((x1 - x1_gt)² + (x2 - x2_gt)²) / 2.
        distance: Tensor = torch.linalg.vector_norm(pred - target, dim=-1) / math.sqrt(2)
        if self.config.normalize:
            # Roots before products: the product of four tiny sides underflows float32.
            mean_side = (area(size(pred) + eps).sqrt() * area(size(target) + eps).sqrt()).sqrt()
            distance = distance / mean_side
        f = distance if fun == "sqrt" else distance.square()
        if fun == "log1p":
            f = f.log1p()
        return 1 - 1 / (tau + f) + inverted(pred)
