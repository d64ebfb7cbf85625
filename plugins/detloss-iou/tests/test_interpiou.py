from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detloss_iou.interpiou import InterpIoULoss


def one(loss: InterpIoULoss, pred: list[float], target: list[float]) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)))


def gradient(loss: InterpIoULoss, pred: list[float], target: list[float]) -> Tensor:
    boxes = torch.tensor([pred], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(boxes, torch.tensor([target], dtype=torch.float64)).sum(), boxes)[0][0]


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""

    def interpiou(p, g):
        between = [(1 - 0.9) * a + 0.9 * b for a, b in zip(p, g, strict=True)]
        return 2 - geometry(p, g).iou - geometry(between, g).iou

    check_against(InterpIoULoss(alpha=0.9), interpiou)


@pytest.mark.parametrize(("iou_of_pair", "expected"), [(1 / 3, 2 / 3), (0.8, 0.6)])
def test_dynamic_by_hand(iou_of_pair: float, expected: float):
    """D-InterpIoU's alpha is 1 - IoU, within its bounds."""
    # IoU 1/3: shift 5 of 10. IoU 0.8 with sides 9: 1 px shift, I = 8 * 9, U = 10 * 9; 1 - 0.8 is raised to 0.6.
    pred, target = ([0, 0, 10, 10], [5, 0, 15, 10]) if iou_of_pair < 0.5 else ([0, 0, 9, 9], [1, 0, 10, 9])
    dynamic = InterpIoULoss(dynamic=[0.6, 0.99])
    assert one(dynamic, pred, target) == pytest.approx(one(InterpIoULoss(alpha=expected), pred, target), rel=1e-8)


def test_dynamic_alpha_is_detached():
    """No gradient flows through D-InterpIoU's alpha: it is that of the fixed alpha of the same value."""
    pred, target = [0.0, 0, 10, 10], [5.0, 0, 15, 10]
    fixed = gradient(InterpIoULoss(alpha=2 / 3), pred, target)
    torch.testing.assert_close(gradient(InterpIoULoss(dynamic=(0.6, 0.99)), pred, target), fixed)


def test_disjoint_boxes_have_a_gradient():
    """A disjoint prediction is drawn to the target, which the IoU alone would not do."""
    assert gradient(InterpIoULoss(), [0.0, 0, 10, 10], [100.0, 0, 110, 10])[0] < 0
