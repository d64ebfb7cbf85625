from __future__ import annotations

import torch
from torchvision.ops import distance_box_iou_loss

from detloss_iou.diou import DIoULoss


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""

    def diou(p, g):
        n = geometry(p, g)
        return 1 - n.iou + n.rho2 / n.c2

    check_against(DIoULoss(), diou)


def test_torchvision(pairs):
    """Values and gradients equal torchvision's, whose DIoU is right on boxes with an area."""
    pred, target = pairs[0].clone().requires_grad_(), pairs[1]
    ours, theirs = DIoULoss()(pred, target), distance_box_iou_loss(pred, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), pred), torch.autograd.grad(theirs.sum(), pred), rtol=1e-9, atol=1e-12
    )


def test_it_depends_on_the_shape_of_a_pixel():
    """Stretching x alone changes the value: it must be computed on decoded boxes, not in anchor units."""
    pred, target = torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[0.0, 0, 10, 10]])
    stretch = torch.tensor([2.0, 1, 2, 1])
    # rho²/c²: 25/325 becomes 10²/(30² + 10²) = 0.1; the IoU stays 1/3
    torch.testing.assert_close(DIoULoss()(pred * stretch, target * stretch), torch.tensor([2 / 3 + 0.1]))


def test_eps_is_in_both_terms():
    """Eps is added to the union and to the squared diagonal."""
    pred, target = torch.tensor([[2.0, 0, 3, 1]]), torch.tensor([[0.0, 0, 1, 1]])
    # I = 0, rho² = 2², c² = 3² + 1²; eps = 1: 1 - 0 + 4/(10 + 1).  The same box twice: 1 - 1/(1 + 1)
    torch.testing.assert_close(DIoULoss(eps=1.0)(pred, target), torch.tensor([1 + 4 / 11]))
    torch.testing.assert_close(DIoULoss(eps=1.0)(target, target), torch.tensor([0.5]))
