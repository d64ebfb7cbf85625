"""The value of a loss while a prediction leaves its target."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss.plot.at_boxes import CENTER, SIDES, corners, values_at


@dataclass(frozen=True)
class Move:
    """A way for a prediction to leave its target.

    Attributes:
        name: One word.
        title: What happens to the prediction.
        label: What `at` is, with its unit.
        at: ``(N,)`` the steps of the move.
        offset: ``(N, 2)`` the center of the prediction from that of the target, in sides of the target.
        factor: ``(N, 2)`` the sides of the prediction, as factors of the target's.
    """

    name: str
    title: str
    label: str
    at: Tensor
    offset: Tensor
    factor: Tensor


def along(loss: BoxRegressionLoss, move: Move) -> Tensor:
    """Return ``(N,)`` the loss at each step of a move.

    It is computed in float64. The state of the loss does not change.
    """
    center, sides = (torch.tensor(each, dtype=torch.float64).expand_as(move.offset) for each in (CENTER, SIDES))
    pred, target = corners(center + move.offset * sides, move.factor * sides), corners(center, sides)
    with torch.no_grad():
        return values_at(copy.deepcopy(loss).eval(), pred, target)


def _pair(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x, y], dim=1)


_STEPS = torch.linspace(-3, 3, 241, dtype=torch.float64)
_FACTORS = 2**_STEPS
_NONE, _SAME = torch.zeros_like(_STEPS), torch.ones_like(_STEPS)

MOVES = (
    Move(
        "slide",
        "Slides past the target",
        "distance of the centers, in widths",
        _STEPS,
        offset=_pair(_STEPS, _NONE),
        factor=_pair(_SAME, _SAME),
    ),
    Move(
        "grow",
        "Grows around its center",
        "side, as a factor of the target's",
        _FACTORS,
        offset=_pair(_NONE, _NONE),
        factor=_pair(_FACTORS, _FACTORS),
    ),
    Move(
        "stretch",
        "Stretched, of the same area",
        "aspect ratio, as a factor of the target's",
        _FACTORS,
        offset=_pair(_NONE, _NONE),
        factor=_pair(_FACTORS.sqrt(), 1 / _FACTORS.sqrt()),
    ),
)
"""All moves that are drawn."""
