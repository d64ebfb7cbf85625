from __future__ import annotations

import math

import pytest
import torch

from detloss_iou.alpha_iou import AlphaIoULoss
from detloss_iou.ciou import CIoULoss
from detloss_iou.diou import DIoULoss
from detloss_iou.giou import GIoULoss
from detloss_iou.iou import IoULoss


def aspect(n):
    return 4 / math.pi**2 * (math.atan(n.W / n.H) - math.atan(n.w / n.h)) ** 2


def trade_off(n):
    return aspect(n) / (1 - n.iou + aspect(n))


PENALTIES = {
    "iou": lambda n, beta: [],
    "giou": lambda n, beta: [(n.C - n.U) / n.C],
    "diou": lambda n, beta: [n.rho2 / n.c2],
    "ciou": lambda n, beta: [n.rho2 / n.c2, beta * aspect(n)],
}


@pytest.mark.parametrize(
    ("base", "alpha"),
    # The roots of GIoU's and CIoU's penalties have an infinite slope on many pairs: no difference can check them.
    [("iou", 3.0), ("giou", 3.0), ("diou", 3.0), ("ciou", 3.0), ("ciou", 2.0), ("iou", 0.5), ("diou", 0.5)],
)
def test_formula(base, alpha, check_against, geometry):
    """Value and gradient are those of the formula; CIoU's beta is a constant made of the plain IoU."""

    def formula(p, g, beta):
        n = geometry(p, g)
        return 1 - n.iou**alpha + sum(penalty**alpha for penalty in PENALTIES[base](n, beta))

    check_against(AlphaIoULoss(base=base, alpha=alpha), formula, frozen=lambda p, g: trade_off(geometry(p, g)))


@pytest.mark.parametrize(
    ("base", "plain"), [("iou", IoULoss()), ("giou", GIoULoss()), ("diou", DIoULoss()), ("ciou", CIoULoss())]
)
def test_alpha_1_is_the_base(base, plain, pairs):
    """With alpha 1 every base is the loss of that name."""
    torch.testing.assert_close(AlphaIoULoss(base=base, alpha=1.0)(*pairs), plain(*pairs))


def test_small_alpha_has_a_finite_gradient_at_iou_0():
    """Boxes that only touch have a finite gradient, though the slope of a root is infinite at 0."""
    pred = torch.tensor([[10.0, 0, 20, 10], [0.0, 0, 10, 10]], requires_grad=True)
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    loss = AlphaIoULoss(alpha=0.5, base="ciou")(pred, target)
    (gradient,) = torch.autograd.grad(loss.sum(), pred)
    assert gradient.isfinite().all()
    assert loss[0] > 1


def test_rounding_does_not_make_a_value_negative():
    """Nearly equal boxes cost at least 0 in float32, where C may come out a bit below U and a root is steep."""
    side = torch.linspace(0.05, 50, 1000)
    target = torch.stack([0 * side, 0 * side, side, side], dim=1)
    values = AlphaIoULoss(alpha=0.1, base="giou")(target + torch.tensor([1e-6, 5e-7, 1e-6, 5e-7]), target)
    assert values.min() >= 0
