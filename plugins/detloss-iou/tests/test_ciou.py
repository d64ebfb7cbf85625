from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import complete_box_iou_loss

from detloss_iou.ciou import CIoULoss


def aspect(n):
    return 4 / math.pi**2 * (math.atan(n.W / n.H) - math.atan(n.w / n.h)) ** 2


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, with alpha as a constant in the gradient."""

    def alpha(p, g):
        n = geometry(p, g)
        return aspect(n) / (1 - n.iou + aspect(n))

    def ciou(p, g, alpha):
        n = geometry(p, g)
        return 1 - n.iou + n.rho2 / n.c2 + alpha * aspect(n)

    check_against(CIoULoss(), ciou, frozen=alpha)


def test_gated_formula(check_against, geometry):
    """With gated, alpha is 0 where the IoU is at most 0.5."""

    def alpha(p, g):
        n = geometry(p, g)
        return aspect(n) / (1 - n.iou + aspect(n)) if n.iou > 0.5 else 0.0

    def ciou(p, g, alpha):
        n = geometry(p, g)
        return 1 - n.iou + n.rho2 / n.c2 + alpha * aspect(n)

    check_against(CIoULoss(gated=True), ciou, frozen=alpha)


def test_gate_closes_at_one_half():
    """At an IoU of 0.5 the gated form leaves the aspect ratio out, and just above it does not."""
    target = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64).expand(2, 4)
    pred = torch.tensor([[0.0, 0, 20, 10], [0.0, 0, 19.9, 10]], dtype=torch.float64)
    # rho²/c² = 25/500 = 0.05; IoU = 100/200 (and the eps keeps it below one half)
    at, above = CIoULoss(gated=True)(pred, target)
    assert at == pytest.approx(0.55, abs=1e-8)
    assert above == CIoULoss()(pred, target)[1]


def test_torchvision(pairs):
    """Values and gradients equal torchvision's on boxes with an area."""
    pred, target = pairs[0].clone().requires_grad_(), pairs[1]
    ours, theirs = CIoULoss()(pred, target), complete_box_iou_loss(pred, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), pred), torch.autograd.grad(theirs.sum(), pred), rtol=1e-6, atol=1e-9
    )


def test_zero_height_prediction_has_a_finite_gradient():
    """A prediction of height 0 has a finite gradient, where torchvision's is NaN."""
    pred, target = torch.tensor([[2.0, 5, 8, 5]], requires_grad=True), torch.tensor([[0.0, 0, 10, 10]])
    (gradient,) = torch.autograd.grad(CIoULoss()(pred, target).sum(), pred)
    assert gradient.isfinite().all()
    (theirs,) = torch.autograd.grad(complete_box_iou_loss(pred, target).sum(), pred)
    assert theirs.isnan().any()


def test_eps_reaches_the_distance():
    """Eps is in the distance as well, where torchvision drops it."""
    pred, target = torch.tensor([[2.0, 0, 3, 1]]), torch.tensor([[0.0, 0, 1, 1]])
    # Equal shapes: v = 0. 1 - 0/(2 + 1) + 2²/(3² + 1² + 1)
    torch.testing.assert_close(CIoULoss(eps=1.0)(pred, target), torch.tensor([1 + 4 / 11]))
