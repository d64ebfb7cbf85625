from __future__ import annotations

import torch

from detloss_iou.eiou import EIoULoss
from detloss_iou.focal_eiou import FocalEIoULoss


def eiou(n):
    return 1 - n.iou + n.rho2 / n.c2 + (n.w - n.W) ** 2 / n.cw**2 + (n.h - n.H) ** 2 / n.ch**2


def test_formula_with_the_weight_detached(check_against, geometry):
    """Value and gradient are those of the formula, with IoU ** gamma as a constant in the gradient."""
    check_against(
        FocalEIoULoss(),
        lambda p, g, weight: weight * eiou(geometry(p, g)),
        frozen=lambda p, g: geometry(p, g).iou ** 0.5,
    )


def test_gamma_0_is_eiou(pairs):
    """With gamma 0 every pair, the disjoint ones too, has its EIoU."""
    torch.testing.assert_close(FocalEIoULoss(gamma=0.0)(*pairs), EIoULoss()(*pairs))


def test_disjoint_boxes_are_left_out_but_inverted_ones_are_not():
    """A disjoint box costs 0 without gradient, as the formula has it; an inverted one does not pass for that."""
    pred = torch.tensor([[20.0, 20, 30, 30], [10, 10, 0, 0]], requires_grad=True)
    disjoint, inverted = FocalEIoULoss()(pred, torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4))
    assert disjoint == 0
    assert inverted >= 3.25
    (gradient,) = torch.autograd.grad(disjoint, pred)
    assert (gradient == 0).all()
