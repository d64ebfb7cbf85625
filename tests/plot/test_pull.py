"""Which losses pull boxes together that do not overlap, or of which one lies within the other."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from loss_cases import NAMES
from torch import Tensor

from detloss import build_loss
from detloss.loss import BoxRegressionLoss, Space
from detloss.plot.pull import Pull, measure_pull

NOT_DISJOINT = {
    # IoU has no gradient where nothing overlaps, and neither has what is made of it alone or multiplied by it.
    **dict.fromkeys(["iou", "alpha_iou", "focal_eiou", "focaler", "inner"], "no"),
    # Each side of the IoU of one axis is 0 as soon as the boxes are disjoint in that axis.
    "bounded_iou": "no",
    # exp(-W / 12.8 px) and exp(-B) fade with the distance.
    **dict.fromkeys(["nwd", "probiou"], "near only"),
    # The quality q = exp(-P) is a factor and not detached: a poor box costs less, the poorer it is.
    "piou": "pushes away",
}
NOT_NESTED = {"iou", "alpha_iou", "giou", "focaler", "inner", "interpiou", "piou", "extended_eiou"}
"""A box that moves within the other keeps intersection, union, enclosing box, and the sum of its sides' distances."""


@pytest.mark.parametrize("name", NAMES)
def test_every_published_loss(name: str) -> None:
    """With default parameters all but a few losses pull disjoint and nested boxes."""
    expected = Pull(NOT_DISJOINT.get(name, "yes"), "no" if name in NOT_NESTED else "yes")  # type: ignore[arg-type]
    assert measure_pull(build_loss(name)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"name": "piou", "version": 1}, Pull("near only", "no")),
        ({"name": "alpha_iou", "base": "diou"}, Pull("yes", "yes")),
        ({"name": "inner", "base": "ciou"}, Pull("yes", "yes")),
        ({"name": "nwd", "constant": 300.0}, Pull("yes", "yes")),
        ({"name": "probiou", "mode": "l2"}, Pull("yes", "yes")),
    ],
    ids=str,
)
def test_a_parameter_may_decide(spec: dict[str, Any], expected: Pull) -> None:
    """What holds for the default parameters need not hold for others."""
    assert measure_pull(build_loss(spec)) == expected


class Distance(BoxRegressionLoss):
    """Squared distance of the centers in deltas, or its negative."""

    space: ClassVar[Space] = "deltas"
    sign = 1.0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.sign * (pred - target)[:, :2].square().sum(dim=1)


class Repelling(Distance):
    sign = -1.0


class Steps(BoxRegressionLoss):
    """Counts how often it is asked in training, and wants all that a head supplies."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor, anchors: Tensor) -> Tensor:
        self.steps += self.training
        return (pred - anchors).abs().sum(dim=1) / image_size.sum(dim=1)


def test_directions() -> None:
    """A loss that falls towards the target pulls, and one that rises pushes away."""
    assert measure_pull(Distance()) == ("yes", "yes")
    assert measure_pull(Repelling()) == ("pushes away", "pushes away")


def test_the_loss_is_left_alone() -> None:
    """Measuring moves no state and no mode of the loss, and hands it the extras that it asks for."""
    loss = Steps()
    assert measure_pull(loss) == ("yes", "no")  # nested, the four distances add up to the same
    assert loss.training
    assert loss.steps == 0
