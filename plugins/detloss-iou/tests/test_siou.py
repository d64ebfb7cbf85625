from __future__ import annotations

import math

import pytest
import torch

from detloss_iou.siou import SIoULoss


def siou(n, theta=4.0):
    # The paper's own steps, with its arcsin and its choice of the smaller angle.
    sin_alpha = abs(n.dy) / math.sqrt(n.rho2)
    alpha = math.asin(min(1.0, sin_alpha))
    alpha = alpha if alpha <= math.pi / 4 else math.pi / 2 - alpha
    angle = 1 - 2 * math.sin(alpha - math.pi / 4) ** 2
    gamma = 2 - angle
    distance = 2 - math.exp(-gamma * (n.dx / n.cw) ** 2) - math.exp(-gamma * (n.dy / n.ch) ** 2)
    omega_w, omega_h = abs(n.w - n.W) / max(n.w, n.W), abs(n.h - n.H) / max(n.h, n.H)
    shape = (1 - math.exp(-omega_w)) ** theta + (1 - math.exp(-omega_h)) ** theta
    return 1 - n.iou + (distance + shape) / 2


@pytest.mark.parametrize("theta", [4.0, 2.0])
def test_formula(theta, check_against, geometry):
    """Value and gradient are those of the paper's steps with arcsin: the closed form of the angle is the same."""
    check_against(SIoULoss(theta=theta), lambda p, g: siou(geometry(p, g), theta))


def test_far_boxes_cost_more():
    """The loss grows with the distance: with mmdetection's default sign a far pair has value and gradient 0."""
    offsets = torch.tensor([0.0, 5, 10, 20, 100, 1000]).unsqueeze(1)
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(6, 4)
    loss = SIoULoss()(target + offsets, target)
    assert (loss.diff() > 0).all()


def test_concentric_boxes_have_a_finite_gradient():
    """Boxes with one centre, or of width 0 on one line, have a finite value and gradient."""
    pred = torch.tensor([[2.0, 2, 8, 8], [0.0, 0, 10, 10], [5.0, 0, 5, 10]], requires_grad=True)
    target = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10], [5.0, 2, 5, 9]])
    loss = SIoULoss()(pred, target)
    (gradient,) = torch.autograd.grad(loss.sum(), pred)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
