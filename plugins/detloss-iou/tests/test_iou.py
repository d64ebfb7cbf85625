from __future__ import annotations

import math

import pytest
import torch

from detloss_iou.iou import IoULoss


@pytest.mark.parametrize("mode", ["linear", "square", "log"])
def test_formula(mode, check_against, geometry):
    """Value and gradient are those of the formula, evaluated with scalars; the logarithm has its floor."""

    def formula(p, g):
        iou = geometry(p, g).iou
        return {"linear": 1 - iou, "square": 1 - iou**2, "log": -math.log(max(iou, 1e-6))}[mode]

    check_against(IoULoss(mode=mode), formula)


@pytest.mark.parametrize(("mode", "worst"), [("linear", 1.0), ("square", 1.0), ("log", 6 * math.log(10))])
def test_disjoint_boxes(mode, worst):
    """Disjoint boxes have exactly the largest value, and a gradient of 0."""
    pred = torch.tensor([[20.0, 0, 30, 10]], requires_grad=True)
    loss = IoULoss(mode=mode)(pred, torch.tensor([[0.0, 0, 10, 10]]))
    assert loss.item() == pytest.approx(worst, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), pred)
    assert (gradient == 0).all()


def test_eps_is_added_to_the_union():
    """Eps is added to the union."""
    box = torch.tensor([[0.0, 0, 1, 1]])
    torch.testing.assert_close(IoULoss(eps=1.0)(box, box), torch.tensor([0.5]))  # 1 - 1/(1 + 1)
