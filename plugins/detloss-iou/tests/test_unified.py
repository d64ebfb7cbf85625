from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from detloss import ConfigError, build_loss
from detloss.boxes import scaled
from detloss.loss import BoxRegressionLoss
from detloss_iou.unified import UnifiedIoULoss


def at(progress: float, **params: object) -> UnifiedIoULoss:
    loss = UnifiedIoULoss(**params)
    loss.progress.fill_(progress)
    return loss


def one(loss: BoxRegressionLoss, pred: list[float], target: list[float], **extras: Tensor) -> float:
    return float(loss(torch.tensor([pred], dtype=torch.float64), torch.tensor([target], dtype=torch.float64), **extras))


# linear 2 - 1.5 t;  cosine 0.75 cos(pi t) + 1.25;  fraction 2 / (1 + 3 t)
@pytest.mark.parametrize(
    ("schedule", "ratios"),
    [("linear", [2, 1.25, 0.5]), ("cosine", [2, 1.25, 0.5]), ("fraction", [2, 0.8, 0.5])],
)
def test_schedule(schedule: str, ratios: list[float]):
    """The ratio falls from 2 to 0.5, and stays there when training goes on for longer."""
    found = [float(at(progress, schedule=schedule).ratio()) for progress in (0.0, 0.5, 1.0, 3.0)]
    assert found == pytest.approx([*ratios, 0.5], rel=1e-6)


# Shift 5 of sides 10. Ratio 2: sides 20, I = 15 * 20, U = 800 - 300. Ratio 0.5: sides 5, they touch.
@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1 - 300 / 500), (1.0, 1.0)])
def test_by_hand(progress: float, expected: float):
    """With iou as base, the loss is 1 minus the IoU of the scaled boxes."""
    assert one(at(progress, base="iou"), [0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("base", ["ciou", "giou", "gwd"])
def test_whole_base_sees_scaled_boxes(pairs, base: str):
    """The penalties too are those of the scaled boxes, with any base that takes boxes."""
    pred, target = pairs
    expected = build_loss(base)(scaled(pred, 1.25), scaled(target, 1.25))
    torch.testing.assert_close(at(0.5, base=base)(pred, target), expected)


def test_focal_weight_by_hand():
    """The focal weights are 1 - IoU^gamma and IoU^gamma of the scaled boxes."""
    pred, target = [0, 0, 10, 10], [5, 0, 15, 10]  # IoU 0.6 at ratio 2, so 1 - IoU = 0.4
    focal = one(at(0.0, base="iou", focal="focal", gamma=2.0), pred, target)
    inverse = one(at(0.0, base="iou", focal="focal_inv", gamma=2.0), pred, target)
    assert (focal, inverse) == (pytest.approx(0.4 * 0.64, rel=1e-8), pytest.approx(0.4 * 0.36, rel=1e-8))


def test_focal_weight_is_detached():
    """The gradient with a focal weight is that of the base times the weight, and finite for disjoint boxes."""
    pred = torch.tensor([[0.0, 0, 10, 10], [200, 0, 210, 10]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[5.0, 0, 15, 10]], dtype=torch.float64).expand(2, 4)
    plain, focal = (
        torch.autograd.grad(at(0.0, base="giou", focal=mode)(pred, target).sum(), pred)[0] for mode in ("none", "focal")
    )
    weight = torch.tensor([[1 - 0.6**0.5], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(focal, weight * plain)


def test_gradient_is_that_of_finite_differences(pairs):
    """The gradient agrees with central finite differences."""
    pred, target = (boxes[::12] for boxes in pairs)
    assert torch.autograd.gradcheck(lambda p: at(0.3, base="diou")(p, target), pred.clone().requires_grad_())


def test_progress_is_saved():
    """The progress is a buffer: it is in the state_dict, and copies have their own."""
    loss = at(0.25)
    other = UnifiedIoULoss()
    other.load_state_dict(loss.state_dict())
    twin = copy.deepcopy(loss)
    twin.progress.fill_(1.0)
    assert (float(other.progress), float(loss.progress)) == (0.25, 0.25)


def test_extras_reach_the_base():
    """What the head supplies is passed on to a base that asks for it."""
    size = torch.tensor([[30.0, 40.0]], dtype=torch.float64)
    assert one(at(1.0, base="mpdiou"), [0, 0, 10, 10], [0, 0, 10, 10], image_size=size) == pytest.approx(0, abs=1e-6)


def test_deltas_base_is_refused():
    """A base that takes deltas cannot be scaled, and the message says so."""
    with pytest.raises(ConfigError, match=r"unified: the base .*'smooth_l1'.*found a loss on deltas"):
        UnifiedIoULoss(base="smooth_l1")


@pytest.mark.parametrize(("base", "depends"), [("wiou", True), ("ciou", False)])
def test_batch_dependence_is_the_bases(base: str, depends: bool):
    """Around a base that depends on the batch the wrapper does too, so that a head calls it on every rank."""
    assert UnifiedIoULoss(base=base).batch_dependent is depends
