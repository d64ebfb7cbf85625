"""Checks of the gradient, and of the inputs after a call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from detloss.testing.check import Check
from detloss.testing.expecting import scale
from detloss.testing.trial import Trial, pair_at

STEP = 1e-6
"""Step of the differences, in px or without unit; float64 rounding is then about 1e-10 of the value."""
OUTSIDE = 150.0
"""Offset in px that moves some boxes out of the image, up and to the left."""
RELATIVE, ABSOLUTE = 1e-4, 1e-7
"""Largest distance of gradient and difference; the second is relative to the largest value."""


@Check
def gradient(trial: Trial) -> None:
    """The gradient agrees with finite differences, detached terms held constant."""
    for loss in trial.stages():
        pred, target = trial.pairs(32)
        extras = trial.extras(target)
        constants = _Constants()
        asked = pred.clone().requires_grad_()
        with constants:
            value = trial.one_a_pair(trial.call(loss, asked, target.clone(), extras), asked)
        found = trial.gradient(value, asked)
        slack = ABSOLUTE * scale(value)
        for column, coordinate in enumerate(("x1", "y1", "x2", "y2") if loss.space == "boxes" else "xywh"):
            beside = []
            for sign in (1, -1):
                moved = pred.clone()
                moved[:, column] += sign * STEP
                with constants.replayed():
                    beside.append(trial.call(loss, moved, target.clone(), extras).reshape(-1))
            difference = ((beside[0] - beside[1]) / (2 * STEP)).detach().to(found.dtype)
            got = found[:, column]
            trial.expect_each(
                torch.isclose(got, difference, rtol=RELATIVE, atol=slack) | ~difference.isfinite(),
                f"the gradient of finite differences in {coordinate}",
                got,
                "A hand-written backward is wrong, or autograd misses a step (`item()`, numpy). NaN comes from a "
                "`where` whose unused branch divides by 0 or takes a root of 0. Fix: correct that; if `dtype` or "
                "`batch_size` fails too, start there.",
                beside=difference,
                where=partial(pair_at, pred, target),
            )


@Check
def inputs_unchanged(trial: Trial) -> None:
    """The loss writes neither to the boxes nor to the extras."""
    for loss in (trial.fresh(), *trial.stages()):
        # Some coordinates are negative, as of boxes that reach out of the image: a loss might clamp them in place.
        pred, target = (numbers - OUTSIDE for numbers in trial.pairs(8))
        extras = trial.extras(target)
        given = {"pred": pred.requires_grad_(), "target": target, **extras}
        before = {name: tensor.detach().clone() for name, tensor in given.items()}
        versions = {name: tensor._version for name, tensor in given.items()}
        value = trial.call(loss, pred, target, extras)
        trial.gradient(value, pred)
        for name, tensor in given.items():
            trial.expect(
                tensor._version == versions[name] and torch.equal(tensor, before[name]),
                f"{name} unchanged",
                "changes by forward",
                "Other losses of the head read the same tensors. Fix: use operations without a trailing `_`.",
            )


@Check
def target_gradient(trial: Trial) -> None:
    """No gradient flows into target and extras that require one."""
    for loss, asks in itertools.product((trial.fresh(), *trial.stages()), (False, True)):
        pred, target = trial.pairs(8)
        extras = trial.extras(target)
        constants = {"target": target, **extras}
        for tensor in constants.values():
            tensor.requires_grad_(asks)
        value = trial.call(loss, pred.requires_grad_(), target, extras)
        trial.expect_connected(value)
        torch.autograd.backward(value.sum())
        for name, tensor in constants.items():
            trial.expect(
                tensor.requires_grad is asks and tensor.grad is None,
                f"a {name} without gradient",
                f"that {name}.requires_grad is {tensor.requires_grad}" if tensor.grad is None else "one",
                f"Fix: treat `{name}` as a constant: no `requires_grad_()`, and no `__call__` of your own.",
            )


class _Constants(TorchFunctionMode):
    """Keeps what a loss detaches, and returns it near the point."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.replay: Iterator[Any] | None = None
        self.without_gradients = False

    def replayed(self) -> _Constants:
        self.replay = iter(self.kept)
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._set_grad_enabled:
            # The forward of an autograd.Function also runs without gradients, but does not call this.
            self.without_gradients = not args[0]
        is_constant = func is Tensor.detach or func == _DATA or (self.without_gradients and not _sets(func))
        if is_constant and self.replay is not None:
            return next(self.replay)
        result = func(*args, **(kwargs or {}))
        if is_constant:
            self.kept.append(result)
        return result


def _sets(func: Any) -> bool:
    return func is torch._C._set_grad_enabled


_DATA = Tensor.data.__get__  # type: ignore[attr-defined]  # what `tensor.data` calls
