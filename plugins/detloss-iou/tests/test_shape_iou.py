from __future__ import annotations

import math

import pytest
import torch

from detloss_iou.shape_iou import ShapeIoULoss


def one(loss: ShapeIoULoss, pred: list[float], target: list[float]) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)))


@pytest.mark.parametrize(("scale", "theta"), [(0.0, 4.0), (0.7, 4.0), (1.5, 2.5)])
def test_formula(check_against, geometry, scale: float, theta: float):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""

    def shape_iou(p, g):
        n = geometry(p, g)
        ww, hh = (2 * side**scale / (n.W**scale + n.H**scale) for side in (n.W, n.H))
        omega_w, omega_h = hh * abs(n.w - n.W) / max(n.w, n.W), ww * abs(n.h - n.H) / max(n.h, n.H)
        shape = (1 - math.exp(-omega_w)) ** theta + (1 - math.exp(-omega_h)) ** theta
        return 1 - n.iou + (hh * n.dx**2 + ww * n.dy**2) / n.c2 + shape / 2

    check_against(ShapeIoULoss(scale=scale, theta=theta), shape_iou)


def test_weights_come_from_the_target():
    """An offset along the longer side of the target costs less than the same offset across it."""
    target = [0.0, 0, 40, 10]
    along, across = [2.0, 0, 42, 10], [0.0, 2, 40, 12]
    loss = ShapeIoULoss(scale=1.0)
    penalty = {}
    for name, pred, iou in (("along", along, 38 / 42), ("across", across, 8 / 12)):
        penalty[name] = one(loss, pred, target) - (1 - iou)
    # hh = 2 * 10/50 = 0.4, ww = 1.6:  0.4 * 4 / (42² + 10²) and 1.6 * 4 / (40² + 12²)
    assert penalty["along"] == pytest.approx(1.6 / 1864, rel=1e-6)
    assert penalty["across"] == pytest.approx(6.4 / 1744, rel=1e-6)


def test_large_scale_does_not_overflow():
    """An exponent that would overflow W**s gives finite values and gradients in float32."""
    pred = torch.tensor([[0.0, 0, 900, 10]], requires_grad=True)
    value = ShapeIoULoss(scale=100.0)(pred, torch.tensor([[3.0, 0, 1000, 12]]))
    (gradient,) = torch.autograd.grad(value.sum(), pred)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
