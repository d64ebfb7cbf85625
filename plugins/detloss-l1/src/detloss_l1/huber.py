"""Huber loss."""

from pydantic import Field
from torch import Tensor
from torch.nn.functional import huber_loss

from detloss.loss import SMOOTH_L1_SCALE, BoxRegressionLoss, LossConfig


class HuberLoss(BoxRegressionLoss):
    """Huber: ``d²/2`` near 0, else ``delta (|d| - delta/2)``.

    Summed over the four deltas; ``d`` is the difference of an encoded delta, prediction minus target, without unit. It
    is ``delta`` times smooth L1 with ``beta = delta``.

    References:
        Huber, "Robust estimation of a location parameter" (Ann. Math. Stat. 1964).

    Range:
        [0, inf).

    Degenerate boxes:
        No deltas are degenerate.

    Recommended weights:
        None published: 1 is that of smooth L1, which it equals at ``delta = 1``.
    """

    class Config(LossConfig):
        delta: float = Field(1.0, ge=1e-3, le=100)
        """Where the square meets the line, in units of the deltas; also the largest slope."""

    config: Config
    space = "deltas"
    recommended_weights = SMOOTH_L1_SCALE
    invariances = frozenset({"translation", "symmetry"})
    compile_pays = False

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` deltas."""
        return huber_loss(pred, target, reduction="none", delta=self.config.delta).sum(-1)
