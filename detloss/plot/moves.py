"""The value of a loss while a prediction leaves its target."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss.plot.at_boxes import corners, values_at

CENTER, SIDES = (400.0, 300.0), (80.0, 60.0)
"""Of the target, in pixels."""


@dataclass(frozen=True)
class Move:
    """A way for a prediction to leave its target.

    Attributes:
        name: One word.
        title: What happens to the prediction.
        label: What `at` is, with its unit.
        at: ``(N,)`` the steps of the move.
        boxes: The center and the sides of the prediction at these steps, as offset and factor of the target's:
            ``(N, 2)`` each, in sides of the target and as a factor.
    """

    name: str
    title: str
    label: str
    at: Tensor
    boxes: Callable[[Tensor], tuple[Tensor, Tensor]]


def along(loss: BoxRegressionLoss, move: Move) -> Tensor:
    """Return ``(N,)`` the loss at each step of a move.

    It is computed in float64. The state of the loss does not change.
    """
    offset, factor = move.boxes(move.at)
    center, sides = (torch.tensor(each, dtype=torch.float64).expand_as(offset) for each in (CENTER, SIDES))
    pred, target = corners(center + offset * sides, factor * sides), corners(center, sides)
    with torch.no_grad():
        return values_at(copy.deepcopy(loss).eval(), pred, target)


def _pair(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x, y], dim=1)


_STEPS = torch.linspace(-3, 3, 241, dtype=torch.float64)

MOVES = (
    Move(
        "slide",
        "Slides past the target",
        "distance of the centers, in widths",
        _STEPS,
        lambda at: (_pair(at, torch.zeros_like(at)), torch.ones(len(at), 2, dtype=at.dtype)),
    ),
    Move(
        "grow",
        "Grows around its center",
        "side, as a factor of the target's",
        2**_STEPS,
        lambda at: (torch.zeros(len(at), 2, dtype=at.dtype), _pair(at, at)),
    ),
    Move(
        "stretch",
        "Stretched, of the same area",
        "aspect ratio, as a factor of the target's",
        2**_STEPS,
        lambda at: (torch.zeros(len(at), 2, dtype=at.dtype), _pair(at.sqrt(), 1 / at.sqrt())),
    ),
)
"""All moves that are drawn."""
