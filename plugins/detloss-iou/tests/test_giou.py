from __future__ import annotations

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from detloss_iou.giou import GIoULoss


def test_disjoint_boxes():
    """Disjoint boxes cost more the farther they are apart, and have a gradient that pulls them together."""
    pred = torch.tensor([[20.0, 20, 30, 30], [90.0, 90, 100, 100]], requires_grad=True)
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    loss = GIoULoss()(pred, target)
    # I = 0, U = 200, C = 30² = 900: 1 + 700/900; and C = 100²: 1 + 9800/10000
    torch.testing.assert_close(loss, torch.tensor([1 + 7 / 9, 1.98]))
    (gradient,) = torch.autograd.grad(loss.sum(), pred)
    along_the_diagonal = gradient.sum(dim=1)
    assert (along_the_diagonal > 0).all()


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""

    def giou(p, g):
        n = geometry(p, g)
        return 1 - n.iou + (n.C - n.U) / n.C

    check_against(GIoULoss(), giou)


def test_torchvision(pairs):
    """Values and gradients equal torchvision's, whose GIoU is right on boxes with an area."""
    pred, target = pairs[0].clone().requires_grad_(), pairs[1]
    ours, theirs = GIoULoss()(pred, target), generalized_box_iou_loss(pred, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), pred), torch.autograd.grad(theirs.sum(), pred), rtol=1e-9, atol=1e-12
    )


def test_eps_is_in_both_terms():
    """Eps is added to the union and to the enclosing area."""
    pred, target = torch.tensor([[2.0, 0, 3, 1]]), torch.tensor([[0.0, 0, 1, 1]])
    # I = 0, U = 2, C = 3, eps = 1: 1 - 0/(2 + 1) + (3 - 2)/(3 + 1)
    torch.testing.assert_close(GIoULoss(eps=1.0)(pred, target), torch.tensor([1.25]))
    # the same box twice, of 1 px²: 1 - 1/(1 + 1) + 0
    torch.testing.assert_close(GIoULoss(eps=1.0)(target, target), torch.tensor([0.5]))


def test_eps_is_absolute():
    """Identical boxes that are as small as eps is large do not cost 0: normalized boxes are to be scaled up first."""
    box = torch.tensor([[0.5, 0.5, 0.501, 0.501]], dtype=torch.float64)
    # I = U = C = 1e-6 and eps = 1e-7: 1 - 1e-6/(1e-6 + 1e-7) = 1/11
    torch.testing.assert_close(GIoULoss()(box, box), torch.tensor([1 / 11], dtype=torch.float64))
    assert GIoULoss()(1000 * box, 1000 * box).item() == pytest.approx(0, abs=1e-6)


def test_inverted_box_costs_more_than_any_disjoint_one():
    """A box with its corners exchanged scores worse than the farthest disjoint box, though it lies on the target."""
    target = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    inverted, far = GIoULoss()(torch.tensor([[10.0, 10, 0, 0], [1e6, 1e6, 1e6 + 1, 1e6 + 1]]), target)
    assert inverted > far
