from __future__ import annotations

import math

import torch

from detloss_iou.sca import SCALoss


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
