from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from detloss_iou.sca import SCALoss


def one(loss: SCALoss, pred: list[float], target: list[float]) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)))


def test_by_hand():
    """The loss is the paper's side overlap and corner distance, for overlapping and for disjoint boxes."""
    # Shift 5: SO = 5/15 + 10/10, both corners off by 5, diagonal sqrt(15² + 10²)
    expected = 2 - 4 / 3 + 2 * 10 / math.sqrt(325)
    assert one(SCALoss(alpha=2.0), [0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(expected, rel=1e-7)
    # Gap 20: SO = -20/40 + 10/10, corners off by 30, diagonal sqrt(40² + 10²)
    assert one(SCALoss(), [0, 0, 10, 10], [30, 0, 40, 10]) == pytest.approx(1.5 + 60 / math.sqrt(1700), rel=1e-7)


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""

    def sca(p, g):
        n = geometry(p, g)
        side = (min(p[2], g[2]) - max(p[0], g[0])) / n.cw + (min(p[3], g[3]) - max(p[1], g[1])) / n.ch
        corner = (math.dist(p[:2], g[:2]) + math.dist(p[2:], g[2:])) / math.sqrt(n.c2)
        return 2 - side + 0.5 * corner

    check_against(SCALoss(alpha=0.5), sca)


def test_coincident_corner_has_a_finite_gradient():
    """Where one corner is exact the gradient is finite, and so it is where both are."""
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    pred = torch.tensor([[0.0, 0, 12, 13], [0.0, 0, 10, 10]], requires_grad=True)
    (gradient,) = torch.autograd.grad(SCALoss()(pred, target).sum(), pred)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("params", [{"alpha": -1.0}, {"eps": 0.0}])
def test_bounds(params: dict[str, float]):
    """A parameter out of bounds is refused by name."""
    with pytest.raises(ValidationError, match=next(iter(params))):
        SCALoss(**params)
