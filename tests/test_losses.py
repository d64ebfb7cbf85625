"""Properties of every installed loss, as its class declares them. Values are checked in each plugin's own tests."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import NAMES, VARIANTS, evaluate, every_case, every_loss, random_pairs
from torch import Tensor
from torch.overrides import TorchFunctionMode

from detloss import build_loss
from detloss.loss import BoxRegressionLoss

TOLERANCE = 1e-5
"""Relative and absolute: an eps of 1e-7 px² beside an area of 1 px², with room for float64 rounding."""


def coordinates(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def box(draw: Callable[..., Any]) -> list[float]:
    """A valid box inside the image, with sides of 1 to 400 px."""
    x, y = draw(coordinates(0, 600)), draw(coordinates(0, 400))
    return [x, y, x + draw(coordinates(1, 400)), y + draw(coordinates(1, 400))]


DELTAS = st.lists(coordinates(-4, 4), min_size=4, max_size=4)


def draw_pairs(data: st.DataObject, loss: BoxRegressionLoss) -> tuple[Tensor, Tensor]:
    one = box() if loss.space == "boxes" else DELTAS
    pairs = data.draw(st.lists(st.tuples(one, one), min_size=1, max_size=3), label="pairs of (pred, target)")
    pred, target = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return pred, target


def test_variants_are_of_installed_losses():
    """The list of variants names only losses that are installed."""
    assert VARIANTS.keys() <= set(NAMES)


@every_case
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_range_and_minimum(case: dict[str, Any], data: st.DataObject):
    """Values lie in the declared range, identical boxes have the declared minimum, and no pair scores better."""
    loss = build_loss(case).eval()
    pred, target = draw_pairs(data, loss)
    value, identical = evaluate(loss, pred, target), evaluate(loss, target, target)
    low, high = loss.value_range
    assert value.min() >= low - TOLERANCE
    assert value.max() <= high + TOLERANCE
    assert (value >= identical - TOLERANCE).all()
    if loss.minimum is not None:
        assert identical.tolist() == pytest.approx([loss.minimum] * len(target), abs=TOLERANCE)


def transformed(kind: str, pred: Tensor, target: Tensor, x: float, y: float) -> tuple[Tensor, Tensor]:
    by = pred.new_tensor([x, y, x, y])
    match kind:
        case "translation":
            return pred + by, target + by
        case "scale":
            return pred * x, target * x
        case "axis_scale":
            return pred * by, target * by
        case "symmetry":
            return target, pred
    raise ValueError(kind)


@every_case
@settings(max_examples=25, deadline=None)
@given(data=st.data(), x=coordinates(1, 8), y=coordinates(1, 8))
def test_declared_invariances_hold(case: dict[str, Any], data: st.DataObject, x: float, y: float):
    """Every declared invariance leaves every value unchanged."""
    loss = build_loss(case).eval()
    pred, target = draw_pairs(data, loss)
    for kind in sorted(loss.invariances):
        moved = evaluate(loss, *transformed(kind, pred, target, x, y))
        torch.testing.assert_close(moved, evaluate(loss, pred, target), rtol=TOLERANCE, atol=TOLERANCE, msg=kind)


@every_loss
def test_undeclared_invariances_fail(name: str):
    """Every invariance that is not declared fails for some pair and parameters: the declaration is exact."""
    for kind in {"translation", "scale", "axis_scale", "symmetry"} - build_loss(name).invariances:
        change = 0.0
        for params in [{}, *VARIANTS.get(name, [])]:
            loss = build_loss({"name": name, **params}).eval()
            pred, target = random_pairs(loss, 100)
            moved = evaluate(loss, *transformed(kind, pred, target, 3.0, 1.5))
            change = max(change, float((moved - evaluate(loss, pred, target)).abs().max()))
        assert change > 1e-3, f"{name} is invariant to {kind}, but does not declare it"


class Detached(TorchFunctionMode):
    """Keeps what a loss detaches, so that it is the same constant when the loss is evaluated beside the point."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []
        self.replay: Iterator[Tensor] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not torch.Tensor.detach:
            return result
        if self.replay is not None:
            return next(self.replay)
        self.kept.append(result)
        return result


@every_case
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_gradient_is_that_of_finite_differences(case: dict[str, Any], seed: int):
    """The gradient agrees with central finite differences, with what the loss detaches held constant."""
    loss, step = build_loss(case).eval(), 1e-6
    pred, target = random_pairs(loss, 16, seed)
    detached = Detached()
    with detached:
        value = evaluate(loss, pred.requires_grad_(), target)
    (gradient,) = torch.autograd.grad(value.sum(), pred)
    for coordinate in range(4):
        beside = []
        for sign in (1, -1):
            moved = pred.detach().clone()
            moved[:, coordinate] += sign * step
            detached.replay = iter(detached.kept)
            with detached:
                beside.append(evaluate(loss, moved, target))
        difference = (beside[0] - beside[1]) / (2 * step)
        # Kinks have measure zero, but a step may straddle one: at most one row of the 16 may disagree.
        wrong = ~torch.isclose(gradient[:, coordinate], difference, rtol=1e-4, atol=1e-7)
        assert wrong.sum() <= 1, (gradient[wrong], difference[wrong])


@every_case
def test_pairs_are_independent(case: dict[str, Any]):
    """The value of a pair depends neither on the size of the batch nor on its order."""
    loss = build_loss(case).eval()
    pred, target = random_pairs(loss, 33)
    together = evaluate(loss, pred, target)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(evaluate(loss, pred[order], target[order]), together[order], rtol=1e-12, atol=1e-12)
    alone = torch.cat([evaluate(loss, pred[i : i + 1], target[i : i + 1]) for i in range(33)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)


@every_loss
def test_batch_dependence_is_declared(name: str):
    """While training, exactly the losses that say so give a pair another value in another batch."""
    pred, target = random_pairs(build_loss(name), 8)
    first = evaluate(build_loss(name), pred[:1], target[:1])
    in_batch = evaluate(build_loss(name), pred, target)[:1]
    assert torch.allclose(first, in_batch, rtol=1e-9, atol=1e-12) is not build_loss(name).batch_dependent


@every_case
def test_inputs_are_left_alone(case: dict[str, Any]):
    """Neither input is written to, and a target that asks for no gradient is enough for one into the prediction."""
    loss = build_loss(case)
    pred, target = random_pairs(loss, 8)
    pred.requires_grad_()
    before = pred.detach().clone(), target.clone()
    evaluate(loss, pred, target).sum().backward()
    assert pred.grad is not None
    assert pred.grad.abs().sum() > 0
    assert (pred._version, target._version) == (0, 0)
    assert (torch.equal(pred, before[0]), torch.equal(target, before[1])) == (True, True)


@every_case
def test_dtypes(case: dict[str, Any]):
    """The value has the dtype of the boxes, and float32 agrees with float64."""
    loss = build_loss(case).eval()
    pred, target = random_pairs(loss, 100)
    values = {dtype: evaluate(loss, pred.to(dtype), target.to(dtype)) for dtype in (torch.float32, torch.float64)}
    assert all(value.dtype == dtype for dtype, value in values.items())
    torch.testing.assert_close(values[torch.float32].double(), values[torch.float64], rtol=1e-4, atol=1e-4)


@every_case
def test_copies(case: dict[str, Any]):
    """A copy, an unpickled loss and one that loads its state give the same values, after training too."""
    loss = build_loss(case)
    pred, target = random_pairs(loss, 8)
    evaluate(loss, pred, target)  # a running mean moves
    loaded = build_loss(case)
    loaded.load_state_dict(loss.state_dict())
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), loaded):
        assert torch.equal(evaluate(twin.eval(), pred, target), evaluate(loss.eval(), pred, target))
        assert twin.config == loss.config
