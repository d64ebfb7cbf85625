from __future__ import annotations

import math

import torch

from detloss_iou.cdiou import CDIoULoss


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
