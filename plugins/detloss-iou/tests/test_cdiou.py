from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from detloss_iou.cdiou import CDIoULoss


def one(loss: CDIoULoss, pred: list[float], target: list[float]) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)))


def test_by_hand():
    """The penalty is the mean distance of the four corners over the diagonal: divided by 4 once, not twice."""
    # Every corner is off by 5, diagonal sqrt(15² + 10²), IoU 1/3
    expected = 2 / 3 + 3 * 5 / math.sqrt(325)
    assert one(CDIoULoss(lam=3.0), [0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(expected, rel=1e-7)
    # Only x2 and y2 differ, by 3 and 4: corners off by 0, 3, 4 and 5; diagonal sqrt(13² + 14²), IoU 100 / 182
    expected = 1 - 100 / 182 + 3 / math.sqrt(365)
    assert one(CDIoULoss(), [0, 0, 13, 14], [0, 0, 10, 10]) == pytest.approx(expected, rel=1e-7)


def test_formula(check_against, geometry):
    """Value and gradient (the authors' code has none) are those of the paper's formula, evaluated with scalars."""

    def cdiou(p, g):
        n = geometry(p, g)
        distances = [math.dist((p[i], p[j]), (g[i], g[j])) for i in (0, 2) for j in (1, 3)]
        return 1 - n.iou + sum(distances) / (4 * math.sqrt(n.c2))

    check_against(CDIoULoss(), cdiou)


def test_coincident_corner_has_a_finite_gradient():
    """Where a corner is exact the gradient is finite: no root of 0."""
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    pred = torch.tensor([[0.0, 0, 12, 13], [0.0, 0, 10, 10]], requires_grad=True)
    (gradient,) = torch.autograd.grad(CDIoULoss()(pred, target).sum(), pred)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("params", [{"lam": -1.0}, {"eps": 0.0}])
def test_bounds(params: dict[str, float]):
    """A parameter out of bounds is refused by name."""
    with pytest.raises(ValidationError, match=next(iter(params))):
        CDIoULoss(**params)
