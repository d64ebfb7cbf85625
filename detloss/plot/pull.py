"""Whether a loss pulls disjoint and nested boxes together.

It is measured: the slope of the loss at some pairs while the prediction moves along the line of the centers.
"""

import copy
from typing import Literal, NamedTuple

import torch

from detloss.loss import BoxRegressionLoss
from detloss.plot.at_boxes import CENTER, SIDES, corners, values_at

DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (1.0, 0.7), (-0.6, 1.0))
"""From the center of the target to that of the prediction, in sides of the target."""
NEAR, FAR = 1.25, 5.0
"""Distances of disjoint boxes, in sides: with a gap of a quarter of a side, and of four."""
NOTHING = 1e-6
"""Change of a loss over one side of movement that is too small to train on."""


class Pull(NamedTuple):
    """Whether a loss pulls a prediction to its target."""

    disjoint: Literal["yes", "near only", "no", "pushes away"]
    """For boxes that do not overlap; `near only`: the gradient fades within five sides."""
    nested: Literal["yes", "no", "pushes away"]
    """For a box inside the other, with another center."""


def measure_pull(loss: BoxRegressionLoss) -> Pull:
    """Measure whether a loss pulls; its state does not change."""
    loss = copy.deepcopy(loss).eval()
    near, far = _weakest(loss, NEAR), _weakest(loss, FAR)
    nested = min(_weakest(loss, 0.1, size=0.5), _weakest(loss, 0.2, size=2.0))
    fades = near > NOTHING and abs(far) <= NOTHING
    return Pull("near only" if fades else _word(min(near, far)), _word(nested))


def _weakest(loss: BoxRegressionLoss, distance: float, size: float = 1.0) -> float:
    """Return the weakest pull over the directions, per side of movement.

    The centers are `distance` sides of the target apart, along each axis; the prediction has `size` of its sides.
    """
    # In float64, so that no slope is a rounding error.
    center, sides = (torch.tensor(each, dtype=torch.float64) for each in (CENTER, SIDES))
    offset = distance * torch.tensor(DIRECTIONS, dtype=torch.float64) * sides
    moved = torch.zeros(len(offset), dtype=torch.float64, requires_grad=True)
    # `moved` is in sides, towards the target.
    towards = -offset / (offset / sides).norm(dim=1, keepdim=True)
    pred = corners(center + offset + moved.unsqueeze(1) * towards, (size * sides).expand_as(offset))
    target = corners(center.expand_as(offset), sides.expand_as(offset))
    (slope,) = torch.autograd.grad(values_at(loss, pred, target).sum(), moved)
    return -float(slope.max())


def _word(pull: float) -> Literal["yes", "no", "pushes away"]:
    return "yes" if pull > NOTHING else "no" if pull >= -NOTHING else "pushes away"
