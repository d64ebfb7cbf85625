from __future__ import annotations

import pytest
import torch

from detloss_iou.mpdiou import MPDIoULoss


def test_formula(check_against, geometry):
    """Value and gradient are those of the paper's formula, evaluated with scalars."""

    def mpdiou(p, g):
        d1, d2 = (p[0] - g[0]) ** 2 + (p[1] - g[1]) ** 2, (p[2] - g[2]) ** 2 + (p[3] - g[3]) ** 2
        return 1 - geometry(p, g).iou + (d1 + d2) / (480**2 + 640**2)

    size = torch.tensor([[480.0, 640.0]], dtype=torch.float64).expand(96, 2)
    check_against(MPDIoULoss(), mpdiou, image_size=size)


def test_each_pair_has_its_own_image():
    """Boxes of one batch may lie in images of different sizes."""
    pred, target = torch.tensor([[5.0, 0, 15, 10]]).expand(2, 4), torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    loss = MPDIoULoss()(pred, target, image_size=torch.tensor([[30.0, 40], [60, 80]]))
    torch.testing.assert_close(loss, torch.tensor([2 / 3 + 0.02, 2 / 3 + 0.005]))


def test_it_asks_the_head_for_the_image_size():
    """The loss declares image_size, and cannot be called without it."""
    assert MPDIoULoss.extras == {"image_size"}
    with pytest.raises(TypeError, match="image_size"):
        MPDIoULoss()(torch.zeros(1, 4), torch.zeros(1, 4))


def test_eps_is_in_both_terms():
    """Eps is added to the union and to the squared diagonal."""
    pred, target = torch.tensor([[1.0, 0, 2, 1]]), torch.tensor([[0.0, 0, 1, 1]])
    # I = 0; d1² + d2² = 2; 2² + 2² + eps 1 = 9
    loss = MPDIoULoss(eps=1.0)(pred, target, image_size=torch.tensor([[2.0, 2.0]]))
    torch.testing.assert_close(loss, torch.tensor([1 + 2 / 9]))
