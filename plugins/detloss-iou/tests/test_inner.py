from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detloss import ConfigError, build_loss
from detloss.loss import BoxRegressionLoss
from detloss_iou.inner import InnerIoULoss


def one(loss: BoxRegressionLoss, pred: list[float], target: list[float], **extras: Tensor) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64), **extras))


# Shift 5 of sides 10. ratio 0.5: sides 5 and the same shift, so they touch: IoU 0.
# ratio 1.5: sides 15, overlap 10 x 15 of 2 * 225 - 150 = 300: IoU 0.5.
@pytest.mark.parametrize(("ratio", "inner_iou"), [(0.5, 0.0), (1.0, 1 / 3), (1.5, 0.5)])
def test_by_hand(ratio: float, inner_iou: float):
    """With iou as base, the loss is 1 minus the IoU of the scaled boxes."""
    loss = InnerIoULoss(ratio=ratio)
    assert one(loss, [0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(1 - inner_iou, rel=1e-8)


def test_penalty_keeps_the_original_boxes():
    """With giou as base, the IoU is that of the scaled boxes and the penalty that of the original ones."""
    # Shift (5, 5) of sides 10: I = 25, U = 175, C = 225. ratio 1.5: sides 15, I = 100, U = 350.
    loss = InnerIoULoss(base="giou", ratio=1.5)
    assert one(loss, [0, 0, 10, 10], [5, 5, 15, 15]) == pytest.approx(1 - 100 / 350 + 50 / 225, rel=1e-8)


@pytest.mark.parametrize("base", ["iou", "giou", "diou", "ciou", "eiou", "siou", "shape_iou", "cdiou"])
def test_ratio_1_is_the_base(pairs, base: str):
    """A ratio of 1 changes neither values nor gradients."""
    pred, target = pairs[0].clone().requires_grad_(), pairs[1]
    values = [loss(pred, target) for loss in (InnerIoULoss(base=base, ratio=1.0), build_loss(base))]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value.sum(), pred)[0] for value in values))


def test_gradient_is_that_of_finite_differences(pairs):
    """The gradient agrees with central finite differences."""
    pred, target = (boxes[::12] for boxes in pairs)
    assert torch.autograd.gradcheck(lambda p: InnerIoULoss(base="diou")(p, target), pred.clone().requires_grad_())


def test_base_parameters():
    """The base gets its own parameters, and is a submodule like any other."""
    loss = InnerIoULoss(base={"name": "ciou", "gated": True})
    assert loss.base.config.gated is True
    assert "ratio=0.7" in repr(loss)


def test_extras_reach_the_base():
    """What the head supplies is passed on to a base that asks for it."""
    size = torch.tensor([[30.0, 40.0]], dtype=torch.float64)
    wrapped = one(InnerIoULoss(base="mpdiou", ratio=1.0), [0, 0, 10, 10], [3, 4, 13, 14], image_size=size)
    assert wrapped == pytest.approx(one(build_loss("mpdiou"), [0, 0, 10, 10], [3, 4, 13, 14], image_size=size))


def test_missing_extra_is_named():
    """A base that needs the image size says so where nobody gave it."""
    with pytest.raises(TypeError, match="image_size"):
        one(InnerIoULoss(base="mpdiou"), [0, 0, 10, 10], [3, 4, 13, 14])


@pytest.mark.parametrize(
    "base",
    [
        "smooth_l1",
        "gwd",
        "wiou",
        "focal_eiou",
        "inner",
        {"name": "iou", "mode": "square"},
        {"name": "iou", "mode": "log"},
        {"name": "piou", "version": 2},
    ],
    ids=str,
)
def test_unsound_base_is_refused(base: object):
    """A base that is not 1 - IoU plus a penalty is refused when the loss is built, and the message names it."""
    with pytest.raises(ConfigError, match=r"InnerIoULoss: the base .* Fix: choose another base"):
        InnerIoULoss(base=base)


def test_one_version_may_be_sound():
    """Whether a base can be wrapped may depend on its parameters: version 1 of piou can."""
    assert InnerIoULoss(base={"name": "piou", "version": 1}).base.iou_term


def test_no_state():
    """The wrapper adds no key to the state_dict."""
    assert InnerIoULoss(base="ciou").state_dict() == {}
