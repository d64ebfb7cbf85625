"""A second, scalar way to every value: plain Python floats, written from the papers and not from the tensor code."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

Box = list[float]
STEP = 1e-4
"""Half the width in pixels of the central differences: their error is about 1e-9 on boxes of 10 px and more."""


@pytest.fixture(scope="session")
def pairs() -> tuple[Tensor, Tensor]:
    """96 predictions and targets of 8 to 100 px, in float64: overlapping, nested, disjoint."""
    generator = torch.Generator().manual_seed(3)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(96, 2, generator=generator, dtype=torch.float64)

    target_center, target_size = uniform(100, 300), uniform(20, 100)
    center = target_center + uniform(-1, 1) * torch.linspace(2, 120, 96, dtype=torch.float64).unsqueeze(1)
    size = target_size * uniform(0.4, 1.6)
    pred = torch.cat([center - size / 2, center + size / 2], dim=1)
    target = torch.cat([target_center - target_size / 2, target_center + target_size / 2], dim=1)
    return pred, target


@pytest.fixture(scope="session")
def geometry() -> Callable[[Box, Box], SimpleNamespace]:
    """Sizes, areas and distances of two boxes, by the letters that the papers use."""

    def describe(p: Box, g: Box) -> SimpleNamespace:
        n = SimpleNamespace()
        n.w, n.h, n.W, n.H = p[2] - p[0], p[3] - p[1], g[2] - g[0], g[3] - g[1]
        n.I = max(0.0, min(p[2], g[2]) - max(p[0], g[0])) * max(0.0, min(p[3], g[3]) - max(p[1], g[1]))
        n.U = n.w * n.h + n.W * n.H - n.I
        n.iou = n.I / n.U
        n.cw, n.ch = max(p[2], g[2]) - min(p[0], g[0]), max(p[3], g[3]) - min(p[1], g[1])
        n.C, n.c2 = n.cw * n.ch, n.cw**2 + n.ch**2
        n.dx, n.dy = (p[0] + p[2] - g[0] - g[2]) / 2, (p[1] + p[3] - g[1] - g[3]) / 2
        n.rho2 = n.dx**2 + n.dy**2
        return n

    return describe


@pytest.fixture(scope="session")
def check_against(pairs: tuple[Tensor, Tensor]) -> Callable[..., None]:
    """Compare a loss with a scalar formula, in value and in gradient, on `pairs`.

    ``formula(p, g)`` gives the value. Where the paper detaches a term, ``formula(p, g, frozen)`` takes it as a constant
    and ``frozen(p, g)`` computes it; the differences then move p under the same constant.
    """

    def check(
        loss: nn.Module,
        formula: Callable[..., float],
        frozen: Callable[[Box, Box], float] | None = None,
        **extras: Tensor,
    ) -> None:
        pred, target = pairs[0].clone().requires_grad_(), pairs[1]
        values = loss(pred, target, **extras)
        (gradient,) = torch.autograd.grad(values.sum(), pred)
        expected_values, expected_gradient = [], []
        for p, g in zip(pred.tolist(), target.tolist(), strict=True):
            constant = () if frozen is None else (frozen(p, g),)
            expected_values.append(formula(p, g, *constant))
            row = []
            for k in range(4):
                ahead, behind = [*p], [*p]
                ahead[k] += STEP
                behind[k] -= STEP
                row.append((formula(ahead, g, *constant) - formula(behind, g, *constant)) / (2 * STEP))
            expected_gradient.append(row)
        expected = torch.tensor(expected_values, dtype=torch.float64)
        torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(gradient, torch.tensor(expected_gradient, dtype=torch.float64), rtol=1e-5, atol=1e-8)

    return check
