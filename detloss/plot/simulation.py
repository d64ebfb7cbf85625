"""The regression simulation of the DIoU paper.

Zheng et al., AAAI 2020, arXiv 1911.08287. Boxes around targets of several aspect ratios go down the gradient of a loss,
without any network. Lengths are in units: every target has an area of 1.
"""

import copy
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from detloss.boxes import iou
from detloss.loss import BoxRegressionLoss
from detloss.plot.at_boxes import corners, values_at

PIXELS = 32.0
"""Of a unit. Only losses with a length of their own depend on it."""
RADIUS = 3.0
"""Of the disk around the targets in which the anchors are, in units."""
RATIOS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0)
"""Width over height, of the targets and of the anchors."""
SCALES = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)
"""Areas of the anchors."""
ITERATIONS = 200
RATES = ((0.8, 0.1), (0.9, 0.01), (1.0, 0.001))
"""Step size up to this part of the iterations; a box takes ``2 - IoU`` times as much."""
POINTS, PAPERS_POINTS = 145, 5000
"""Points at which the 343 combinations are: 49,735 boxes, and the paper's 1,715,000."""
SMALLEST = 0.01
"""A side never gets shorter: a box has an area."""
_TOGETHER = 50_000
"""Boxes in one batch."""


@dataclass(frozen=True)
class Simulation:
    """How far the boxes are from their targets.

    Attributes:
        points: ``(P, 2)`` where the anchors began, from the center of the targets.
        error: ``(T + 1,)`` before each iteration and after the last one: the mean of |x| + |y| + |w| + |h| over the
            boxes, in units.
        final: ``(P,)`` the mean error at the end of the boxes that began at each point.
    """

    points: Tensor
    error: Tensor
    final: Tensor


def simulate(loss: BoxRegressionLoss, points: int = POINTS) -> Simulation:
    """Let boxes go down the gradient of a loss.

    Its state does not change.

    Args:
        loss: The loss. One on deltas gets boxes encoded against their anchors.
        points: How many points have anchors, of all scales and ratios each.
    """
    # Vogel's spiral: points of equal density.
    turn = torch.arange(points, dtype=torch.float64)
    radius, angle = RADIUS * ((turn + 0.5) / points).sqrt(), turn * math.pi * (3 - math.sqrt(5))
    at = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).float()
    kinds = torch.tensor([[*_sides(s, a), *_sides(1.0, b)] for s, a, b in itertools.product(SCALES, RATIOS, RATIOS)])
    size = max(1, _TOGETHER // len(kinds))
    errors = []
    for begin in range(0, points, size):
        some = at[begin : begin + size]
        centers, sides = some.repeat_interleave(len(kinds), dim=0), kinds.repeat(len(some), 1)
        errors.append(_errors(copy.deepcopy(loss).eval(), torch.cat([centers, sides[:, :2]], dim=1), sides[:, 2:]))
    error = torch.cat([torch.unflatten(each, 1, (-1, len(kinds))).mean(dim=2) for each in errors], dim=1)
    return Simulation(at, error.mean(dim=1), error[-1])


def _errors(loss: BoxRegressionLoss, begin: Tensor, target_sides: Tensor) -> Tensor:
    """Return ``(T + 1, N)`` the error of each box before and after each iteration."""
    target = torch.cat([torch.zeros_like(target_sides), target_sides], dim=1)
    # In pixels, within an image.
    anchors, targets = _in_pixels(begin), _in_pixels(target)
    state, errors = begin.clone(), [(begin - target).abs().sum(dim=1)]
    for iteration in range(ITERATIONS):
        rate = next(rate for part, rate in RATES if iteration < part * ITERATIONS)
        state.requires_grad_()
        boxes = _in_pixels(state)
        (gradient,) = torch.autograd.grad(values_at(loss, boxes, targets, anchors).sum(), state)
        with torch.no_grad():
            moved = state - rate * (2 - iou(boxes, targets)).unsqueeze(1) * gradient
            state = torch.cat([moved[:, :2], moved[:, 2:].clamp(min=SMALLEST)], dim=1)
            errors.append((state - target).abs().sum(dim=1))
    return torch.stack(errors)


def _in_pixels(boxes: Tensor) -> Tensor:
    return PIXELS * corners(boxes[:, :2] + 3 * RADIUS, boxes[:, 2:])


def _sides(area: float, ratio: float) -> tuple[float, float]:
    return math.sqrt(area * ratio), math.sqrt(area / ratio)
