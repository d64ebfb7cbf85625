from __future__ import annotations

import pytest
import torch

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


@pytest.mark.parametrize("smooth", [0.1, 0.5])
def test_formula(smooth, check_against):
    """Value and gradient are those of the formula, evaluated with scalars."""
    check_against(ExtendedEIoULoss(smooth_point=smooth), lambda p, g: formula(p, g, smooth))


def test_it_is_not_the_other_eiou(pairs):
    """It shares an acronym with the EIoU of Zhang et al., and no value."""
    assert not torch.isclose(ExtendedEIoULoss()(*pairs), EIoULoss()(*pairs)).any()
