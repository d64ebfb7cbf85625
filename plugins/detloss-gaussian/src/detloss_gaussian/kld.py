"""Kullback-Leibler divergence loss."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from detloss.boxes import bounded, center, inverted, size
from detloss.loss import GIOU_SCALE, BoxRegressionLoss
from detloss_gaussian.eps import EpsConfig
from detloss_gaussian.root import root


class KLDLoss(BoxRegressionLoss):
    """Kullback-Leibler divergence: ``1 - 1 / (tau + f(KL))``.

    Formula::

        L       = 1 - 1 / (tau + f(KL))
        KL(p‖q) = 2 (dx²/w_q² + dy²/h_q²) + (w_p²/w_q² + h_p²/h_q²) / 2 + ln(w_q/w_p) + ln(h_q/h_p) - 1

    ``KL`` is the divergence of the Gaussians of the two boxes, each with the box's center and covariance
    ``diag(w², h²) / 4``; ``dx, dy`` is the offset of the centers. ``direction`` target_pred is KL(target‖pred), as in
    mmrotate; pred_target is KL(pred‖target). ``f`` is ``ln(1 + KL)``, the square root, or nothing; ``sqrt`` takes the
    square root of ``KL`` first. Nothing is detached.

    References:
        Yang et al., NeurIPS 2021, arXiv 2106.01883.

    Range:
        [1 - 1/tau, 1].

    Degenerate boxes:
        At identical boxes the value is ``1 - 1/tau`` and the gradient 0. A side of 0 counts as eps pixels. An inverted
        prediction costs 1 more.

    Recommended weights:
        Published: 5.5 in RetinaNet for rotated boxes (mmrotate, with ``ln`` and tau 1, without the square root first;
        it has 1 for twice KL(pred‖target)). None for other heads.
    """

    class Config(EpsConfig):
        direction: Literal["target_pred", "pred_target"] = "target_pred"
        """Which box's Gaussian comes first in KL(p‖q); the sides of the second divide the offset."""
        fun: Literal["log1p", "sqrt", "none"] = "log1p"
        """The function f of the divergence."""
        tau: float = Field(1.0, ge=1, le=100)
        """Higher is flatter: the slope at small divergences is 1 / tau²."""
        sqrt: bool = True
        """Take the square root of the divergence before f."""

    config: Config
    recommended_weights = GIOU_SCALE | {"retinanet": 5.5}
    value_range = (0.0, 1.0)
    minimum = None
    invariances = frozenset({"translation", "scale", "axis_scale"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        fun, tau, eps = self.config.fun, self.config.tau, self.config.eps
        pred, target = bounded(pred), bounded(target)
        p, q = (target, pred) if self.config.direction == "target_pred" else (pred, target)
        p_size, q_size = size(p) + eps, size(q) + eps
        ratio = p_size / q_size
        # (r² - 1)/2 - ln r = (r - 1)²/2 + (r - 1 - ln r): no term is below 0, even after rounding.
        excess = ratio - 1
        f = (2 * ((center(p) - center(q)) / q_size).square() + excess.square() / 2 + (excess - ratio.log())).sum(0)
        if self.config.sqrt:
            f = root(f)
        if fun == "log1p":
            f = f.log1p()
        elif fun == "sqrt":
            f = root(f)
        return 1 - 1 / (tau + f) + inverted(pred)
