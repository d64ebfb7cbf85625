from __future__ import annotations

import pytest
import torch

from detloss_iou.bounded_iou import BoundedIoULoss


def formula(n, beta=0.2):
    costs = [
        1 - max(0.0, (n.W - 2 * abs(n.dx)) / (n.W + 2 * abs(n.dx))),
        1 - max(0.0, (n.H - 2 * abs(n.dy)) / (n.H + 2 * abs(n.dy))),
        1 - min(n.w / n.W, n.W / n.w),
        1 - min(n.h / n.H, n.H / n.h),
    ]
    return sum(c**2 / (2 * beta) if c < beta else c - beta / 2 for c in costs)


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_formula(beta, check_against, geometry):
    """Value and gradient are those of the formula, evaluated with scalars."""
    check_against(BoundedIoULoss(beta=beta), lambda p, g: formula(geometry(p, g), beta))


def test_normalised_boxes():
    """Boxes in units of the image cost what the same boxes in pixels do: mmdetection's 1e-3 px would show here."""
    pred, target = torch.tensor([[3.5, 0, 8.5, 10]]), torch.tensor([[0.0, 0, 10, 10]])
    small = BoundedIoULoss()(pred / 1000, target / 1000)
    torch.testing.assert_close(small, BoundedIoULoss()(pred, target), rtol=1e-4, atol=0)


def test_eps_is_in_every_denominator():
    """Eps is added to the four denominators."""
    box = torch.tensor([[0.0, 0, 1, 1]])
    # the same box twice, eps = 1: each IoU_b is 1/(1 + 1), each cost 0.5 - 0.1
    torch.testing.assert_close(BoundedIoULoss(eps=1.0)(box, box), torch.tensor([1.6]))
