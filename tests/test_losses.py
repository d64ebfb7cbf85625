"""Every installed loss: the conformance kit, and what is held of first-party losses beyond it.

Values are checked in each plugin's own tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from coordinates import any_coordinate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loss_cases import NAMES, VARIANTS, case_id, evaluate, every_case, every_loss, random_pairs, value_and_gradient
from torch import Tensor

from detloss import build_loss
from detloss.boxes import inverted
from detloss.loss import BoxRegressionLoss, LossConfig
from detloss.registry import one_scan
from detloss.testing import CHECKS
from detloss.testing.subject import subject_of

TOLERANCE = 1e-5
"""Relative and absolute: an eps of 1e-7 px² beside an area of 1 px², with room for float64 rounding."""

CHECK = {check.name: check for check in CHECKS}
HEAVY = ("torch_compile", "training")
"""Checks that take a hundred times as long as the others."""
COMPILED = [{"name": name, **params} for name in NAMES for params in VARIANTS.get(name, []) if "base" not in params]
"""Modes, each with lines of its own. Every loss with its defaults, and so every base, is compiled by inductor in
tests/heads/test_compiled.py."""


def test_variants_are_of_installed_losses():
    """The list of variants names only losses that are installed."""
    assert VARIANTS.keys() <= set(NAMES)


@every_case
def test_row_29_every_loss_passes_the_quick_checks(case: dict[str, Any]):
    """Every installed loss, with all parameters that matter, passes the conformance kit without an exception."""
    subject = subject_of(case)
    # These two start from the defaults and try every mode by themselves.
    once = () if case.keys() == {"name"} else ("bounds", "parameters_used")
    with one_scan():
        results = [check.apply(subject) for check in CHECKS if check.name not in (*HEAVY, *once)]
    assert {result.check.name: result.message for result in results if not result.ok} == {}
    # An inverted box has no meaning for a loss on deltas, and a loss without parameters ignores none.
    missing = {"inverted_boxes"} if subject.cls.space == "deltas" else set()
    missing |= set() if once or subject.cls.Config.model_fields else {"parameters_used", "bounds"}
    assert {result.check.name for result in results if result.outcome != "passed"} == missing


@pytest.mark.slow
@every_loss
def test_every_loss_trains_a_detector(name: str):
    """Every installed loss passes the kit's check of a training."""
    CHECK["training"].run(name)


@pytest.mark.slow
@pytest.mark.xdist_group("compiled")
@pytest.mark.parametrize("case", COMPILED, ids=case_id)
def test_every_mode_is_one_graph(case: dict[str, Any]):
    """Every mode of a loss is traced without a break, and the graph gives its values and gradients."""
    torch.compiler.reset()
    loss, same = build_loss(case), build_loss(case)
    pred, target = random_pairs(loss, 7, dtype=torch.float32)
    graph = torch.compile(same, fullgraph=True, backend="eager")
    found, expected = value_and_gradient(graph, pred, target), value_and_gradient(loss, pred, target)
    torch.testing.assert_close(found, expected)


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


@every_case
@settings(max_examples=15)
@given(data=st.data(), x=coordinates(1, 8), y=coordinates(1, 8))
def test_declarations_hold_for_any_boxes(case: dict[str, Any], data: st.DataObject, x: float, y: float):
    """Range, minimum and invariances hold for whatever boxes hypothesis finds, down to sides of 1 px."""
    loss = build_loss(case).eval()
    pred, target = draw_pairs(data, loss)
    value, identical = evaluate(loss, pred, target), evaluate(loss, target, target)
    low, high = loss.value_range
    assert value.min() >= low - TOLERANCE
    assert value.max() <= high + TOLERANCE
    assert (value >= identical - TOLERANCE).all()
    if loss.minimum is not None:
        assert identical.tolist() == pytest.approx([loss.minimum] * len(target), abs=TOLERANCE)
    for kind in sorted(loss.invariances):
        moved = evaluate(loss, *transformed(kind, pred, target, x, y))
        torch.testing.assert_close(moved, value, rtol=TOLERANCE, atol=TOLERANCE, msg=kind)


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


@every_loss
def test_row_44_every_parameter_has_closed_bounds(name: str):
    """No parameter of a published loss is unbounded: the kit tries each at its ends, and remarks nothing."""
    result = CHECK["bounds"].apply(subject_of(name))
    assert result.message in ("", "It has no parameters with bounds.")


@st.composite
def parameters(draw: Callable[..., Any], config: type[LossConfig]) -> dict[str, Any]:
    """Parameters anywhere within the bounds of a Config."""
    chosen: dict[str, Any] = {}
    for name, schema in config.model_json_schema()["properties"].items():
        if schema.get("type") == "number":
            low, high = float(schema["minimum"]), float(schema["maximum"])
            # As many tiny ones as large ones.
            chosen[name] = min(max(low, high * 10 ** -draw(coordinates(0, 12))), high)
        elif "enum" in schema or schema.get("type") == "boolean":
            chosen[name] = draw(st.sampled_from(schema.get("enum", [False, True])))
    return chosen


any_box = st.lists(any_coordinate, min_size=4, max_size=4)


@every_loss
@settings(max_examples=15)
@given(data=st.data())
def test_row_44_finite_and_in_range_within_the_bounds(name: str, data: st.DataObject):
    """With any parameters in their bounds, any boxes have finite results, and the values of valid ones are in range."""
    cls = type(build_loss(name))
    chosen = data.draw(parameters(cls.Config))
    assume(chosen.get("d", 0) < chosen.get("u", 1))  # of focaler
    loss = cls(**chosen)
    pairs = data.draw(st.lists(st.tuples(any_box, any_box), min_size=1, max_size=5))
    pred, target = torch.tensor(pairs).unbind(1)
    if cls.space == "deltas":  # the sum of four errors of 3.4e38 is infinite
        pred, target = pred.clamp(-1e30, 1e30), target.clamp(-1e30, 1e30)
    value, gradient = value_and_gradient(loss.eval(), pred, target)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    low, high = cls.value_range
    valid = ~(inverted(pred) | inverted(target))
    slack = TOLERANCE * float(value.abs().max().clamp(min=1))
    assert (value[valid] >= low - slack).all()
    assert (value[valid] <= high + slack).all()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@every_case
def test_row_43_nan_in_nan_out(case: dict[str, Any], training: bool):
    """A NaN in any coordinate of prediction or target gives that pair NaN, not a score, and the others stay finite."""
    loss = build_loss(case).train(training)
    pred, target = random_pairs(loss, 9, dtype=torch.float32)
    place = torch.arange(4)
    pred[place, place] = torch.nan
    target[place + 4, place] = torch.nan
    assert evaluate(loss, pred, target).isnan().tolist() == [True] * 8 + [False]


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
