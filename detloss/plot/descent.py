"""The directions in which a loss moves centers and sides."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss.plot.at_boxes import CENTER, SIDES, corners, values_at
from detloss.plot.pull import NOTHING

FIELDS = {"center": "center of the prediction, in sides of the target", "sides": "width and height, as factors of 2"}
"""Name of a field -> what its two coordinates are: offsets of the center, or base-2 logarithms of width and height."""
_REACH = 2.0
"""Of a grid to each side of its middle."""
_POINTS = 17


@dataclass(frozen=True)
class Field:
    """Directions of descent on a grid.

    Attributes:
        at: ``(N, 2)`` the points, in the coordinates that `FIELDS` names.
        descent: ``(N, 2)`` the negative gradient there, in the same coordinates.
    """

    at: Tensor
    descent: Tensor

    @property
    def dead(self) -> Tensor:
        """``(N,)`` where the gradient is zero, although the boxes differ."""
        dead: Tensor = (self.descent.norm(dim=1) <= NOTHING) & (self.at.norm(dim=1) > NOTHING)
        return dead


def field(loss: BoxRegressionLoss, name: str) -> Field:
    """Return one field of a loss, computed in float64.

    The state of the loss does not change.

    Args:
        loss: The loss.
        name: A key of `FIELDS`.
    """
    loss = copy.deepcopy(loss).eval()
    line = torch.linspace(-_REACH, _REACH, _POINTS, dtype=torch.float64)
    at = torch.cartesian_prod(line, line).requires_grad_()
    center, sides = (torch.tensor(each, dtype=torch.float64).expand_as(at) for each in (CENTER, SIDES))
    pred = corners(center + at * sides, sides) if name == "center" else corners(center, sides * 2**at)
    (gradient,) = torch.autograd.grad(values_at(loss, pred, corners(center, sides)).sum(), at)
    return Field(at.detach(), -gradient)
