"""Smooth L1 loss."""

from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.loss import SMOOTH_L1_SCALE, BoxRegressionLoss, LossConfig


class SmoothL1Loss(BoxRegressionLoss):
    """Smooth L1: ``d²/(2 beta)`` near 0, else ``|d| - beta/2``.

    Summed over the four deltas; ``d`` is the difference of an encoded delta, prediction minus target, without unit.
    ``beta`` is ``1 / sigma²`` of Faster R-CNN (Ren et al., arXiv 1506.01497).

    References:
        Girshick, ICCV 2015, arXiv 1504.08083.

    Range:
        [0, inf).

    Degenerate boxes:
        No deltas are degenerate; ``beta = 0`` is L1, with gradient 0 at ``d = 0``.

    Recommended weights:
        Published: 1 in the R-CNN box head, RPN and SSD of torchvision, used for the other dense heads too.
    """

    class Config(LossConfig):
        beta: float = Field(1 / 9, ge=0, le=100)
        """Where the square meets the line, in units of the deltas; 0 is L1. The default is torchvision's."""

    config: Config
    space = "deltas"
    recommended_weights = SMOOTH_L1_SCALE
    invariances = frozenset({"translation", "symmetry"})
    compile_pays = False

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` deltas."""
        return smooth_l1_loss(pred, target, reduction="none", beta=self.config.beta).sum(-1)
