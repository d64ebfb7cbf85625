"""L1 loss."""

from torch import Tensor
from torch.nn.functional import l1_loss

from detloss.loss import SMOOTH_L1_SCALE, BoxRegressionLoss


class L1Loss(BoxRegressionLoss):
    """L1: ``|d|`` summed over the four deltas.

    ``d`` is the difference of an encoded delta, prediction minus target, without unit. The gradient is ``sign(d)``, and
    0 at ``d = 0``.

    References:
        Least absolute deviations (Boscovich, 1757).

    Range:
        [0, inf).

    Degenerate boxes:
        No deltas are degenerate.

    Recommended weights:
        Published: 1 in torchvision's RetinaNet, used for the other heads too.
    """

    space = "deltas"
    recommended_weights = SMOOTH_L1_SCALE
    invariances = frozenset({"translation", "symmetry"})
    compile_pays = False

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` deltas."""
        return l1_loss(pred, target, reduction="none").sum(-1)
