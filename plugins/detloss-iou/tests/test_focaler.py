from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detloss import ConfigError, build_loss
from detloss.loss import BoxRegressionLoss
from detloss_iou.focaler import FocalerIoULoss


def one(loss: BoxRegressionLoss, pred: list[float], target: list[float], **extras: Tensor) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64), **extras))


def gradient(loss: BoxRegressionLoss, pred: list[float], target: list[float]) -> Tensor:
    boxes = torch.tensor([pred], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(boxes, torch.tensor([target], dtype=torch.float64)).sum(), boxes)[0][0]


# The pair has IoU 1/3: (1/3 - d) / (u - d), clipped.
@pytest.mark.parametrize(("d", "u", "focaler"), [(0.0, 0.95, 1 / 2.85), (0.2, 0.6, 1 / 3), (0.5, 1.0, 0), (0, 0.3, 1)])
def test_by_hand(d: float, u: float, focaler: float):
    """With iou as base, the loss is 1 minus the IoU mapped linearly from [d, u] to [0, 1]."""
    loss = FocalerIoULoss(d=float(d), u=u)
    assert one(loss, [0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(1 - focaler, rel=1e-8)


def test_penalty_stays():
    """With giou as base, only the IoU is mapped."""
    # Shift (5, 5) of sides 10: I = 25, U = 175, C = 225; IoU 1/7, mapped by d = 0, u = 0.5 to 2/7.
    loss = FocalerIoULoss(base="giou", u=0.5)
    assert one(loss, [0, 0, 10, 10], [5, 5, 15, 15]) == pytest.approx(1 - 2 / 7 + 50 / 225, rel=1e-8)


@pytest.mark.parametrize("base", ["iou", "giou", "ciou"])
def test_full_interval_is_the_base(pairs, base: str):
    """D = 0 and u = 1 change neither values nor gradients."""
    pred, target = pairs[0].clone().requires_grad_(), pairs[1]
    values = [loss(pred, target) for loss in (FocalerIoULoss(base=base, u=1.0), build_loss(base))]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value.sum(), pred)[0] for value in values))


def test_gradient_outside_of_the_interval():
    """Below d and above u the IoU has no gradient; between them it is 1 / (u - d) times as steep."""
    pred, target = [0.0, 0, 10, 10], [5.0, 0, 15, 10]  # IoU 1/3
    for params in ({"d": 0.4}, {"u": 0.3}):
        torch.testing.assert_close(
            gradient(FocalerIoULoss(**params), pred, target), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-15
        )
    steeper = gradient(FocalerIoULoss(d=0.2, u=0.6), pred, target)
    torch.testing.assert_close(steeper, gradient(build_loss("iou"), pred, target) / 0.4)


def test_gradient_is_that_of_finite_differences(pairs):
    """The gradient agrees with central finite differences."""
    pred, target = (boxes[::12] for boxes in pairs)
    assert torch.autograd.gradcheck(lambda p: FocalerIoULoss(base="diou")(p, target), pred.clone().requires_grad_())


def test_extras_reach_the_base():
    """What the head supplies is passed on to a base that asks for it."""
    size = torch.tensor([[30.0, 40.0]], dtype=torch.float64)
    wrapped = one(FocalerIoULoss(base="mpdiou", u=1.0), [0, 0, 10, 10], [3, 4, 13, 14], image_size=size)
    assert wrapped == pytest.approx(one(build_loss("mpdiou"), [0, 0, 10, 10], [3, 4, 13, 14], image_size=size))


@pytest.mark.parametrize("base", ["l1", "nwd", "alpha_iou", "focaler", {"name": "iou", "mode": "log"}], ids=str)
def test_unsound_base_is_refused(base: object):
    """A base that is not 1 - IoU plus a penalty is refused when the loss is built, and the message names it."""
    with pytest.raises(ConfigError, match=r"FocalerIoULoss: the base .* Fix: choose another base"):
        FocalerIoULoss(base=base)


def test_the_iou_that_is_replaced_is_the_base_s():
    """With an eps in the base, identical boxes cost what is left of the stretched IoU: no value is below 0."""
    # A box of 1 px² with eps 1 has IoU 1/2 with itself, mapped by d = 0, u = 0.4 to 1, by u = 1 to 1/2.
    box, base = [0.0, 0, 1, 1], {"name": "iou", "eps": 1.0}
    assert one(FocalerIoULoss(base=base, u=0.4), box, box) == 0
    assert one(FocalerIoULoss(base=base, u=1.0), box, box) == 0.5
