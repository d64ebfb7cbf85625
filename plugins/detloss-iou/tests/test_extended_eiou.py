from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from detloss_iou.eiou import EIoULoss
from detloss_iou.extended_eiou import ExtendedEIoULoss


def formula(p, g, smooth=0.1):
    ex, ey = min(p[0], g[0]), min(p[1], g[1])
    x1, y1, x2, y2 = max(p[0], g[0]), max(p[1], g[1]), min(p[2], g[2]), min(p[3], g[3])
    signed = (
        (x2 - ex) * (y2 - ey)
        + (min(x1, x2) - ex) * (min(y1, y2) - ey)
        - (x1 - ex) * (max(y1, y2) - ey)
        - (max(x1, x2) - ex) * (y1 - ey)
    )
    union = (p[2] - p[0]) * (p[3] - p[1]) + (g[2] - g[0]) * (g[3] - g[1]) - signed
    u = 1 - signed / union
    return u**2 / (2 * smooth) if u < smooth else u - smooth / 2


def test_values():
    """An overlapping pair has the ordinary intersection, a disjoint one a negative one."""
    pred = torch.tensor([[5.0, 0, 15, 10], [20.0, 0, 30, 10]])
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    # I = 50, U = 150: u = 2/3, less 0.1/2
    # (x1, x2) = (20, 10), (y1, y2) = (0, 10): I = 10*10 + 10*0 - 20*10 - 20*0 = -100, U = 300: u = 4/3, less 0.05
    torch.testing.assert_close(ExtendedEIoULoss()(pred, target), torch.tensor([2 / 3 - 0.05, 4 / 3 - 0.05]))


def test_near_the_target_it_is_a_square():
    """Below smooth_point the loss is u² / (2 smooth_point)."""
    pred, target = torch.tensor([[0.0, 0, 10, 9.5]]), torch.tensor([[0.0, 0, 10, 10]])
    # I = 95, U = 100: u = 0.05, 0.05²/0.2
    torch.testing.assert_close(ExtendedEIoULoss()(pred, target), torch.tensor([0.0125]))


@pytest.mark.parametrize("smooth", [0.1, 0.5])
def test_formula(smooth, check_against):
    """Value and gradient are those of the formula, evaluated with scalars."""
    check_against(ExtendedEIoULoss(smooth_point=smooth), lambda p, g: formula(p, g, smooth))


def test_it_is_not_the_other_eiou(pairs):
    """It shares an acronym with the EIoU of Zhang et al., and no value."""
    assert not torch.isclose(ExtendedEIoULoss()(*pairs), EIoULoss()(*pairs)).any()


@pytest.mark.parametrize("params", [{"smooth_point": 0.0}, {"eps": -1.0}])
def test_bounds(params):
    """smooth_point and eps are positive."""
    with pytest.raises(ValidationError, match=next(iter(params))):
        ExtendedEIoULoss(**params)
