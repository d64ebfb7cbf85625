from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detloss_iou.piou import PIoULoss


def one(loss: PIoULoss, pred: list[float], target: list[float]) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)))


def gradient(loss: PIoULoss, pred: list[float], target: list[float]) -> Tensor:
    boxes = torch.tensor([pred], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(boxes, torch.tensor([target], dtype=torch.float64)).sum(), boxes)[0][0]


@pytest.mark.parametrize("version", [1, 2])
def test_formula(check_against, geometry, version: int):
    """Value and gradient of both versions are those of the paper's formula, evaluated with scalars."""

    def piou(p, g):
        n = geometry(p, g)
        in_x, in_y = (abs(p[0] - g[0]) + abs(p[2] - g[2])) / n.W, (abs(p[1] - g[1]) + abs(p[3] - g[3])) / n.H
        penalty = (in_x + in_y) / 4
        v1 = 2 - n.iou - math.exp(-(penalty**2))
        x = 1.1 * math.exp(-penalty)
        return v1 if version == 1 else 3 * x * math.exp(-(x**2)) * v1

    check_against(PIoULoss(version=version, lam=1.1), piou)


def test_penalty_does_not_fall_when_the_prediction_grows():
    """The denominators are the target's sides: a larger prediction is no way to a smaller loss."""
    assert one(PIoULoss(version=1), [0, 0, 40, 40], [10, 10, 20, 20]) > one(
        PIoULoss(version=1), [5, 5, 25, 25], [10, 10, 20, 20]
    )


def test_detached_quality():
    """`detach_q` changes no value, and its gradient is that of version 1 times a weight."""
    pred, target = [0.0, 1, 10, 12], [4.0, 0, 15, 10]
    attached, detached, v1 = PIoULoss(), PIoULoss(detach_q=True), PIoULoss(version=1)
    weight = one(attached, pred, target) / one(v1, pred, target)
    assert one(detached, pred, target) == one(attached, pred, target)
    torch.testing.assert_close(gradient(detached, pred, target), weight * gradient(v1, pred, target))
    assert not torch.allclose(gradient(attached, pred, target), weight * gradient(v1, pred, target))


def test_attached_quality_pushes_a_poor_box_away():
    """For a poor box the gradient of version 2 opposes that of version 1; with `detach_q` it does not."""
    pred, target = [0.0, 0, 10, 10], [40.0, 0, 50, 10]
    v1 = gradient(PIoULoss(version=1), pred, target)
    assert gradient(PIoULoss(), pred, target) @ v1 < 0
    assert gradient(PIoULoss(detach_q=True), pred, target) @ v1 > 0
