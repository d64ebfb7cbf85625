from __future__ import annotations

import torch

from detloss_iou.eiou import EIoULoss


def eiou(n):
    return 1 - n.iou + n.rho2 / n.c2 + (n.w - n.W) ** 2 / n.cw**2 + (n.h - n.H) ** 2 / n.ch**2


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""
    check_against(EIoULoss(), lambda p, g: eiou(geometry(p, g)))


def test_eps_is_in_every_term():
    """Eps is added to the union, the squared diagonal and both squared sides."""
    pred, target = torch.tensor([[0.0, 0, 2, 1]]), torch.tensor([[0.0, 0, 1, 1]])
    # I = 1, U = 2, rho² = 0.25, c² = 5, cw² = 4, eps = 1: 1 - 1/3 + 0.25/6 + 1/5
    torch.testing.assert_close(EIoULoss(eps=1.0)(pred, target), torch.tensor([2 / 3 + 1 / 24 + 1 / 5]))


def test_the_largest_value():
    """No pair costs more than a box without height at the corner of one without width."""
    pred, target = torch.tensor([[0.0, 0, 10, 0]]), torch.tensor([[10.0, 0, 10, 10]])
    # 1 - 0 + (5² + 5²)/(10² + 10²) + 10²/10² + 10²/10²
    torch.testing.assert_close(EIoULoss()(pred, target), torch.tensor([3.25]))
    assert EIoULoss.value_range == (0, 3.25)
