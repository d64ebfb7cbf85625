"""Balanced L1 loss."""

import math

from pydantic import Field
from torch import Tensor

from detloss.loss import SMOOTH_L1_SCALE, BoxRegressionLoss, LossConfig


class BalancedL1Loss(BoxRegressionLoss):
    """Balanced L1: gradient ``alpha ln(b|d| + 1)``, at most gamma.

    ``beta L1(d / beta)`` over the four deltas; ``L1(x) = alpha/b (b|x| + 1) ln(b|x| + 1) - alpha |x|`` up to 1, then
    ``gamma |x| + gamma/b - alpha``, with ``b = exp(gamma/alpha) - 1``. The paper has ``beta = 1`` only.
    Second derivatives are not available: the gradient's own gradient is 0.

    References:
        Pang et al., Libra R-CNN, CVPR 2019, arXiv 1904.02701.

    Range:
        [0, inf).

    Degenerate boxes:
        No deltas are degenerate.

    Recommended weights:
        Published: 1 in the R-CNN box head and RetinaNet (Libra R-CNN's configs).
    """

    class Config(LossConfig):
        alpha: float = Field(0.5, ge=0.1, le=10)
        """Slope of small errors: a smaller one raises their gradient."""
        gamma: float = Field(1.5, ge=0.1, le=8)
        """Largest slope, that of every error beyond `beta`."""
        beta: float = Field(1.0, ge=1e-3, le=100)
        """Where the logarithm meets the line, in units of the deltas."""

    config: Config
    space = "deltas"
    recommended_weights = SMOOTH_L1_SCALE
    invariances = frozenset({"translation", "symmetry"})
    compile_pays = False

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` deltas."""
        alpha, gamma, beta = self.config.alpha, self.config.gamma, self.config.beta
        c = beta / math.expm1(gamma / alpha)
        d = (pred - target).abs()
        # The gradient is the slope alone: the derivatives of the other terms add up to 0.
        # The logarithm gets only min(|d|, beta): with beta / c up to e^80, |d| / c would overflow for large errors.
        near = d.detach().clamp(max=beta)
        slope = alpha * (near / c).log1p()
        return (slope * (d + c) - alpha * near).sum(-1)
