"""What is drawn of a loss, against values worked out by hand and a second formulation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from detloss import build_loss
from detloss.plot.descent import field
from detloss.plot.moves import MOVES, along
from detloss.plot.simulation import RATIOS, SCALES, simulate

BY_NAME = {move.name: move for move in MOVES}


@pytest.mark.parametrize(
    ("loss", "move", "at", "value"),
    [
        ("giou", "slide", 0.0, 0.0),
        ("giou", "slide", 0.5, 1 - 1 / 3),  # half of each box overlaps; nothing else is in the box around both
        ("giou", "slide", 3.0, 1 + 2 / 4),  # two of the four widths around both are empty
        ("iou", "grow", 2.0, 1 - 1 / 4),
        ("iou", "grow", 0.5, 1 - 1 / 4),
        ("giou", "stretch", 4.0, 1 - 1 / 3 + (2 - 1.5) / 2),  # twice as wide and half as high, in a box of 2 x 1
        ("l1", "slide", 2.0, 2.0),
        ("l1", "grow", 2.0, 2 * math.log(2)),
        ("l1", "stretch", 0.25, 2 * math.log(2)),
    ],
)
def test_values_along_a_move(loss: str, move: str, at: float, value: float) -> None:
    """At each step the value is that of the formula, for losses on boxes and on deltas."""
    steps = BY_NAME[move].at
    place = int((steps - at).abs().argmin())
    assert float(steps[place]) == pytest.approx(at)
    assert float(along(build_loss(loss), BY_NAME[move])[place]) == pytest.approx(value, abs=1e-6)


def at_point(loss: str, name: str, point: tuple[float, float]) -> Tensor:
    found = field(build_loss(loss), name)
    return found.descent[int((found.at - torch.tensor(point)).norm(dim=1).argmin())]


def test_the_descent_of_the_center() -> None:
    """Half a width and a quarter of a height away, IoU is I / (2 - I) of the intersection I = (1 - |x|)(1 - |y|)."""
    slope = 2 / (2 - 0.375) ** 2
    expected = torch.tensor([-slope * 0.75, -slope * 0.5], dtype=torch.float64)
    torch.testing.assert_close(at_point("iou", "center", (0.5, 0.25)), expected, rtol=1e-5, atol=1e-6)


def test_the_descent_of_the_sides() -> None:
    """Twice as wide and high, IoU is 1 / (w h): the descent along log2 of each is -ln 2 / 4."""
    expected = torch.full((2,), -math.log(2) / 4, dtype=torch.float64)
    torch.testing.assert_close(at_point("iou", "sides", (1.0, 1.0)), expected, rtol=1e-5, atol=1e-6)


def test_dead_zones() -> None:
    """IoU has no gradient wherever the boxes do not overlap, GIoU has one everywhere; at the target nothing is dead."""
    found = field(build_loss("iou"), "center")
    assert torch.equal(found.dead, (found.at.abs() >= 1).any(dim=1))
    assert not field(build_loss("giou"), "center").dead.any()
    assert not field(build_loss("l1"), "sides").dead.any()


def test_the_simulation_is_the_papers() -> None:
    """The error before and after each iteration is that of a plain loop in float64, which knows nothing of detloss."""
    found = simulate(build_loss("giou"), points=2)
    ours = torch.stack([mean_error(found.points[place].double()) for place in range(2)])
    error, expected = found.error.double(), ours.mean(dim=0)
    torch.testing.assert_close(error[:61], expected[:61], rtol=3e-3, atol=0)
    # Boxes that have arrived jump around their targets: there the rounding decides which way.
    torch.testing.assert_close(error[61:], expected[61:], rtol=0.1, atol=1e-3)
    torch.testing.assert_close(found.final.double(), ours[:, -1], rtol=0, atol=2e-3)


def mean_error(point: Tensor) -> Tensor:
    """The mean error of all combinations at a point, by iteration."""
    boxes, targets = [], []
    for scale in SCALES:
        for ratio in RATIOS:
            for wanted in RATIOS:
                boxes.append([*point.tolist(), (scale * ratio) ** 0.5, (scale / ratio) ** 0.5])
                targets.append([0, 0, wanted**0.5, wanted**-0.5])
    pred, target = torch.tensor(boxes, dtype=torch.float64), torch.tensor(targets, dtype=torch.float64)
    errors = [(pred - target).abs().sum(dim=1).mean()]
    for iteration in range(200):
        pred.requires_grad_()
        loss = generalized_box_iou_loss(xyxy(pred), xyxy(target))
        (slope,) = torch.autograd.grad(loss.sum(), pred)
        low, high = (
            torch.maximum(xyxy(pred)[:, :2], xyxy(target)[:, :2]),
            torch.minimum(xyxy(pred), xyxy(target))[:, 2:],
        )
        overlap = (high - low).relu().prod(dim=1)
        iou = overlap / (pred[:, 2:].prod(dim=1) + target[:, 2:].prod(dim=1) - overlap)
        rate = 0.1 if iteration < 160 else 0.01 if iteration < 180 else 0.001
        pred = (pred - rate * (2 - iou).unsqueeze(1) * slope).detach()
        pred[:, 2:] = pred[:, 2:].clamp(min=0.01)
        errors.append((pred - target).abs().sum(dim=1).mean())
    return torch.stack(errors)


def xyxy(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)


def test_points_fill_the_disk() -> None:
    """The points at which anchors begin have the same density everywhere: half of them are within 1 / sqrt(2)."""
    radius = simulate(build_loss("l1"), points=64).points.norm(dim=1)
    assert float(radius.max()) < 3
    assert int((radius < 3 / 2**0.5).sum()) == 32


def test_deltas_are_encoded_against_the_anchor() -> None:
    """L1 on deltas takes boxes of every anchor to their targets, however far that anchor is."""
    found = simulate(build_loss("smooth_l1"), points=4)
    assert float(found.error[0]) > 2
    assert float(found.final.max()) < 0.05


def test_a_loss_with_state_stays_as_it_is() -> None:
    """Drawing changes no running mean."""
    loss = build_loss("wiou")
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    along(loss, MOVES[0])
    field(loss, "center")
    simulate(loss, points=1)
    assert before
    assert all(torch.equal(value, loss.state_dict()[name]) for name, value in before.items())
    assert loss.training
