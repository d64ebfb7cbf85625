"""Balanced L1 loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator
from torch import Tensor

from detloss.loss import BoxRegressionLoss, Invariance, LossConfig, Space

__all__ = ["BalancedL1Loss"]

MAX_EXPONENT = 80.0
"""Largest gamma / alpha: exp(88.7) is the largest power of e that float32 holds."""


class BalancedL1Loss(BoxRegressionLoss):
    """Balanced L1: gradient ``alpha ln(b|d| + 1)``, at most gamma (Pang et al., CVPR 2019, arXiv 1904.02701).

    Formula::

        L = sum over x, y, w, h of beta L1(d / beta)

        L1(x) = alpha/b (b|x| + 1) ln(b|x| + 1) - alpha |x|    if |x| < 1
                gamma |x| + gamma/b - alpha                    otherwise

    ``d`` is the difference of an encoded delta, prediction minus target, without unit; ``b = exp(gamma/alpha) - 1``
    makes the gradient continuous at ``|x| = 1``. The paper has ``beta = 1`` only. For another ``beta`` the authors'
    code divides by it in some places, which leaves a gradient at zero error; ``beta L1(d / beta)`` keeps the gradient
    from 0 to ``gamma``. Nothing is detached. No deltas are degenerate.

    Range: [0, inf).

    Recommended weights: published: 1, in the R-CNN box head and RetinaNet (Libra R-CNN's configs); the other heads
    take it over.
    """

    class Config(LossConfig):
        """Parameters of balanced L1."""

        alpha: float = Field(0.5, gt=0)
        """Slope of small errors: a smaller one raises their gradient."""
        gamma: float = Field(1.5, gt=0)
        """Largest slope, that of every error beyond `beta`."""
        beta: float = Field(1.0, gt=0)
        """Where the logarithm meets the line, in units of the deltas."""

        @model_validator(mode="after")
        def _exponent_fits(self) -> BalancedL1Loss.Config:
            if self.gamma / self.alpha > MAX_EXPONENT:
                raise ValueError(
                    f"gamma / alpha is {self.gamma / self.alpha:g}, and b = exp(gamma / alpha) - 1 must fit into "
                    f"float32: keep it at or below {MAX_EXPONENT:g}"
                )
            return self

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
        alpha, gamma, beta = self.config.alpha, self.config.gamma, self.config.beta
        b = math.expm1(gamma / alpha)
        d = (pred - target).abs()
        excess = (d - beta).relu()
        # The logarithm gets min(|d|, beta) only: with b of up to e^80, b|d| would overflow for large errors.
        y = b * ((d - excess) / beta)
        return (alpha * beta / b * ((y + 1) * y.log1p() - y) + gamma * excess).sum(-1)
