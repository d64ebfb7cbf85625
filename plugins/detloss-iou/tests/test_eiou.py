from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from detloss_iou.eiou import EIoULoss


def eiou(n):
    return 1 - n.iou + n.rho2 / n.c2 + (n.w - n.W) ** 2 / n.cw**2 + (n.h - n.H) ** 2 / n.ch**2


def test_value():
    """A square target and a prediction of twice its width, on the same left top corner."""
    pred, target = torch.tensor([[0.0, 0, 20, 10]]), torch.tensor([[0.0, 0, 10, 10]])
    # I = 100, U = 200; rho² = 5², c² = 20² + 10²; (20 - 10)²/20², (10 - 10)²/10²: 0.5 + 0.05 + 0.25 + 0
    torch.testing.assert_close(EIoULoss()(pred, target), torch.tensor([0.8]))


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""
    check_against(EIoULoss(), lambda p, g: eiou(geometry(p, g)))


def test_sides_are_compared_and_not_the_offsets():
    """Equal sides cost nothing, whatever the offset: the Wise-IoU repository has (dx/cw)² + (dy/ch)² in this place."""
    pred, target = torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[0.0, 0, 10, 10]])
    # 1 - 50/150 + 25/(15² + 10²)
    torch.testing.assert_close(EIoULoss()(pred, target), torch.tensor([2 / 3 + 25 / 325]))


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


def test_bounds():
    """Eps must be positive."""
    with pytest.raises(ValidationError, match="eps"):
        EIoULoss(eps=0.0)
