from __future__ import annotations

import math

import mpmath
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from detloss.loss import BoxRegressionLoss
from detloss_l1.balanced_l1 import BalancedL1Loss
from detloss_l1.huber import HuberLoss
from detloss_l1.l1 import L1Loss
from detloss_l1.smooth_l1 import SmoothL1Loss

ALL = [L1Loss(), SmoothL1Loss(), HuberLoss(), BalancedL1Loss(), BalancedL1Loss(beta=0.11), BalancedL1Loss(beta=3.0)]


def pairs(n: int = 200, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred, target = scale * torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
    return pred.requires_grad_(), target


def of_difference(loss: BoxRegressionLoss, *differences: float) -> list[float]:
    """Loss of pairs that differ in the third delta alone, so that the sum has one term."""
    pred = torch.zeros(len(differences), 4, dtype=torch.float64)
    pred[:, 2] = torch.tensor(differences, dtype=torch.float64)
    return loss(pred + 0.25, torch.full_like(pred, 0.25)).tolist()


def slope(loss: BoxRegressionLoss, difference: float, dtype: torch.dtype = torch.float64) -> float:
    pred = torch.tensor([[difference, 0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(pred, torch.zeros_like(pred)).sum(), pred)
    return float(gradient[0, 0])


def test_l1_by_hand():
    """L1 is the sum of the four absolute differences."""
    # |1 - 0| + |-2 - 0| + |0.5 - 1| + |3 - 3| = 3.5
    value = L1Loss()(torch.tensor([[1.0, -2.0, 0.5, 3.0]]), torch.tensor([[0.0, 0.0, 1.0, 3.0]]))
    assert value.tolist() == [3.5]


def test_smooth_l1_by_hand():
    """Smooth L1 is a square below beta and a line of slope 1 beyond it."""
    # beta 0.5: 0.2² / 1 = 0.04;  at beta 0.5² / 1 = 0.25 = 0.5 - 0.25;  2 - 0.25 = 1.75
    assert of_difference(SmoothL1Loss(beta=0.5), 0.2, 0.5, -2.0) == pytest.approx([0.04, 0.25, 1.75], rel=1e-12)


def test_huber_by_hand():
    """Huber is half the square up to delta and a line of slope delta beyond it."""
    # delta 2: 1² / 2 = 0.5;  at delta 2² / 2 = 2 = 2 (2 - 1);  2 (5 - 1) = 8
    assert of_difference(HuberLoss(delta=2.0), 1.0, 2.0, -5.0) == pytest.approx([0.5, 2.0, 8.0], rel=1e-12)


def test_balanced_l1_by_hand():
    """Balanced L1 follows the paper's logarithm below 1 and its line beyond it."""
    # alpha 1, gamma ln 3: b = 3 - 1 = 2.
    # |d| = 0.5: 1/2 (1 + 1) ln 2 - 0.5 = ln 2 - 0.5
    # |d| = 1:   1/2 (2 + 1) ln 3 - 1 = 1.5 ln 3 - 1, and the line: ln 3 + ln 3 / 2 - 1, the same
    # |d| = 4:   4 ln 3 + ln 3 / 2 - 1 = 4.5 ln 3 - 1
    loss = BalancedL1Loss(alpha=1.0, gamma=math.log(3))
    expected = [math.log(2) - 0.5, 1.5 * math.log(3) - 1, 4.5 * math.log(3) - 1]
    assert of_difference(loss, 0.5, -1.0, 4.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", [1 / 9, 1.0, 0.0])
def test_smooth_l1_is_torchs(beta: float):
    """Smooth L1 agrees with torch's own, summed over the deltas, in value and gradient."""
    pred, target = pairs()
    expected = smooth_l1_loss(pred, target, beta=beta, reduction="none").sum(-1)
    value = SmoothL1Loss(beta=beta)(pred, target)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-7)
    gradients = [torch.autograd.grad(v.sum(), pred)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-7)


def test_smooth_l1_default_is_torchvisions():
    """Without a parameter, smooth L1 has the beta of torchvision's R-CNN box head and RPN."""
    assert SmoothL1Loss().config.beta == 1 / 9


def test_huber_is_scaled_smooth_l1():
    """Huber(delta) is delta times smooth L1 with beta = delta."""
    pred, target = pairs()
    torch.testing.assert_close(HuberLoss(delta=0.7)(pred, target), 0.7 * SmoothL1Loss(beta=0.7)(pred, target))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradient_is_zero_without_error(loss: BoxRegressionLoss):
    """At zero error the gradient is exactly 0: no NaN from beta = 0, no leftover slope from beta != 1."""
    assert slope(loss, 0.0) == 0
    assert slope(SmoothL1Loss(beta=0.0), 0.0) == 0


@pytest.mark.parametrize(("alpha", "gamma", "beta"), [(0.5, 1.5, 1.0), (0.5, 1.5, 0.11), (0.3, 2.0, 4.0)])
def test_balanced_l1_against_mpmath(alpha: float, gamma: float, beta: float):
    """Balanced L1 is the integral of the paper's gradient min(alpha ln(b|d|/beta + 1), gamma)."""
    b = mpmath.expm1(mpmath.mpf(gamma) / alpha)

    def gradient(d: mpmath.mpf) -> mpmath.mpf:
        return min(alpha * mpmath.log(b * d / beta + 1), mpmath.mpf(gamma))

    differences = [0.01, 0.1, 0.5, 0.99, 1.5, 6.0]
    expected = [float(mpmath.quad(gradient, [0, min(d, beta), d])) for d in differences]
    loss = BalancedL1Loss(alpha=alpha, gamma=gamma, beta=beta)
    assert of_difference(loss, *differences) == pytest.approx(expected, rel=1e-9)
    assert [slope(loss, -d) for d in differences] == pytest.approx([-float(gradient(d)) for d in differences], rel=1e-9)


def test_balanced_l1_gradient_does_not_jump():
    """With beta other than 1 the gradient grows from 0 to gamma without a step, unlike the authors' code."""
    loss = BalancedL1Loss(beta=0.11)
    assert slope(loss, 1e-9) < 1e-6  # the authors' code: 0.5 (1/0.11 - 1) = 4.05
    assert slope(loss, 0.11 - 1e-9) == pytest.approx(1.5, abs=1e-6)
    assert slope(loss, 0.11) == slope(loss, 0.11 + 1e-9) == 1.5


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradient_is_that_of_finite_differences(loss: BoxRegressionLoss):
    """The gradient agrees with central finite differences."""
    pred, target = pairs(20)
    assert torch.autograd.gradcheck(lambda p: loss(p, target), pred)


def test_balanced_l1_steep_logarithm_stays_finite():
    """The largest gamma / alpha allowed stays finite in float32, at errors of any size."""
    loss = BalancedL1Loss(alpha=0.1, gamma=8.0)
    for difference in (1e-6, 0.5, 1.0, 1e19):
        value = loss(torch.tensor([[difference, 0, 0, 0]]), torch.zeros(1, 4))
        assert torch.isfinite(value).all()
        assert math.isfinite(slope(loss, difference, torch.float32))


@pytest.mark.parametrize(
    ("loss", "params"),
    [
        (SmoothL1Loss, {"beta": -0.1}),
        (SmoothL1Loss, {"delta": 1.0}),
        (HuberLoss, {"delta": 0.0}),
        (BalancedL1Loss, {"alpha": 0.01}),  # with gamma 1.5, b = exp(150) does not fit into float32
        (BalancedL1Loss, {"beta": 0.0}),
        (BalancedL1Loss, {"gamma": float("nan")}),
        (L1Loss, {"beta": 1.0}),
    ],
)
def test_bounds(loss: type[BoxRegressionLoss], params: dict[str, float]):
    """A parameter out of bounds, or one that the loss does not have, is refused."""
    with pytest.raises(ValidationError, match=next(iter(params))):
        loss(**params)
