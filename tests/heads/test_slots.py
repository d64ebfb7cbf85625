"""Several adapters in front of one module, each with its own slot, and heads that are pickled as what they were."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import pickle
from pathlib import Path
from typing import Any

import killed
import pytest
import torch
from torch import nn

from detloss import InjectionError, eject, inject, injected

DETECTOR = """
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.predict = nn.Linear(2, 4)

    def forward(self, inputs, boxes=None, *, scale: float = 1.0):
        found = self.predict(inputs) * scale
        if boxes is None:
            return found
        error = (found - boxes).abs()
        return {"near": error.sum() / len(boxes), "far": error.square().sum() / len(boxes)}
"""

ADAPTERS = """
from detloss.heads.base import HeadAdapter, Matches
from detloss.heads.pickled import PlainPickles
from two.detector import Two


class Replaces:
    def replaced(self, losses, entry, slot, inputs, boxes):
        found, stock = self.predict(inputs), losses[entry]
        matches = Matches(
            pred_deltas=found,
            target_boxes=boxes,
            decode=lambda deltas: deltas,
            target_deltas=lambda: boxes,
            stock_divisor=float(max(1, len(boxes))),
            stock_loss=lambda: stock,
            head_output=found,
        )
        return losses | {entry: self.box_loss(matches, slot)}


class Near(Replaces, HeadAdapter):
    head_name = "near"
    adapts = Two

    @property
    def computes_losses(self):
        return True

    def forward(self, inputs, boxes=None, **named):
        losses = super().forward(inputs, boxes, **named)
        return losses if boxes is None else self.replaced(losses, "near", "detloss", inputs, boxes)


class Far(Replaces, HeadAdapter):
    head_name = "far"
    adapts = Two
    slot = "detloss_far"

    @property
    def computes_losses(self):
        return True

    def forward(self, inputs, boxes=None, **named):
        losses = super().forward(inputs, boxes, **named)
        return losses if boxes is None else self.replaced(losses, "far", "detloss_far", inputs, boxes)


class Plain(PlainPickles, Near):
    head_name = "plain"
    slot = "detloss_plain"

    def forward(self, inputs, boxes=None, **named):
        losses = HeadAdapter.forward(self, inputs, boxes, **named)
        return losses if boxes is None else self.replaced(losses, "near", "detloss_plain", inputs, boxes)
"""

INPUTS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 9.0, 8.0]])


@pytest.fixture
def two(packages: Any) -> Any:
    """A package with a module of two box losses, a head for each, and one that is pickled without losses."""
    packages.add(
        "two-losses",
        entry_points="".join(
            ["[detloss.heads]\n", *(f"{name.lower()} = two.adapters:{name}\n" for name in ("Near", "Far", "Plain"))]
        ),
        modules={"two/__init__.py": "", "two/detector.py": DETECTOR, "two/adapters.py": ADAPTERS},
    )
    return importlib.import_module("two.detector").Two


def model_of(two: Any) -> Any:
    torch.manual_seed(0)
    return two()


def losses_of(model: nn.Module) -> dict[str, float]:
    return {name: round(value.item(), 4) for name, value in model(INPUTS, BOXES).items()}


@pytest.mark.parametrize("order", [("near", "far"), ("far", "near")])
def test_two_heads_of_one_module_are_apart(two: Any, order: tuple[str, str]) -> None:
    """Each of two heads of a module gets its losses, in either order, and ejecting one leaves the other."""
    stock = losses_of(model_of(two))
    one = inject(model_of(two), {"near": {"name": "l1", "weight": 2}})
    model = model_of(two)
    for head in order:
        inject(model, {head: {"name": "l1", "weight": 2 if head == "near" else 3}})
    both = losses_of(model)
    assert both == {"near": losses_of(one)["near"], "far": pytest.approx(3 / 2 * both["near"], abs=1e-3)}
    assert losses_of(inject(model_of(two), {name: injected(model)[name].each()[0] for name in order})).keys() == {
        "near",
        "far",
    }
    assert type(model).__name__ == "Two"
    eject(model, ["near"])
    assert list(injected(model)) == ["far"]
    assert losses_of(model) == {"near": stock["near"], "far": both["far"]}
    eject(model)
    assert type(model) is two
    assert losses_of(model) == stock
    assert list(model.state_dict()) == list(model_of(two).state_dict())


def test_one_call_injects_into_both(two: Any) -> None:
    """One call of inject takes both heads of a module, and a second one into a head replaces that one alone."""
    model = inject(model_of(two), {"near": "l1", "far": "giou"})
    assert str(injected(model)) == "near: 1 * l1()\nfar: 1 * giou(eps=1e-07)"
    inject(model, {"far": "diou"})
    assert str(injected(model)) == "near: 1 * l1()\nfar: 1 * diou(eps=1e-07)"


def test_copies_and_pickles_keep_both(two: Any) -> None:
    """Copies and pickles of a module with two heads have both, and their state."""
    model = inject(model_of(two), {"near": "wiou", "far": "l1"})
    losses_of(model.train())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is type(model)
        assert str(injected(other)) == str(injected(model))
        assert torch.equal(other.detloss.losses[0].iou_mean, model.detloss.losses[0].iou_mean)
        assert type(eject(other)) is two
    assert set(model.state_dict()) - set(model_of(two).state_dict()) == {"detloss.losses.0.iou_mean"}


def test_the_signature_is_the_modules_own(two: Any) -> None:
    """Trainers that read the names of a model's inputs see those of the module, not of the adapter."""
    model = inject(model_of(two), {"near": "l1", "far": "l1"})
    assert inspect.signature(model.forward) == inspect.signature(model_of(two).forward)
    assert inspect.signature(type(model).forward) == inspect.signature(two.forward)


@pytest.mark.parametrize("heads", [("plain",), ("plain", "far"), ("far", "plain")])
def test_a_head_that_pickles_as_its_own_class(two: Any, heads: tuple[str, ...], tmp_path: Path, packages: Any) -> None:
    """Its whole pickle loads in a process without detloss, as the plain class; a deepcopy keeps the losses."""
    model = inject(model_of(two), dict.fromkeys(heads, "l1"))
    kept = copy.deepcopy(model)
    assert str(injected(kept)) == str(injected(model))
    assert losses_of(kept) == losses_of(model)
    assert kept.predict is not model.predict
    file = tmp_path / "model.pt"
    torch.save({"model": model}, file)
    program = (
        "import sys; sys.modules['detloss'] = None; import torch\n"
        f"model = torch.load({str(file)!r}, weights_only=False)['model']\n"
        "print(type(model).__mro__[0], list(dict(model.named_modules())))"
    )
    done = killed.python("-c", program, PYTHONPATH=str(packages.folder))
    assert done.stdout.strip() == "<class 'two.detector.Two'> ['', 'predict']", done.stderr
    assert list(injected(model)) == list(injected(kept))
    loaded = torch.load(io.BytesIO(file.read_bytes()), weights_only=False)["model"]
    assert losses_of(inject(loaded, dict.fromkeys(heads, "l1"))) == losses_of(model)


def test_an_extra_that_the_head_does_not_supply_is_refused(two: Any) -> None:
    """A loss that asks for what a head does not supply is refused before anything changes."""
    model = model_of(two)
    said = r"far: the loss mpdiou asks for image_size, which this head does not supply \(it supplies no extras\). Fix:"
    with pytest.raises(InjectionError, match=said):
        inject(model, {"near": "l1", "far": "mpdiou"})
    assert type(model) is two


@pytest.mark.parametrize("wrapper", ["inner", "focaler", "unified"])
def test_a_loss_around_another_asks_for_what_that_asks_for(two: Any, wrapper: str) -> None:
    """A wrapper fits every head that its base fits, and is refused where the base is."""
    found = losses_of(inject(model_of(two), {"far": {"name": wrapper, "base": "giou"}}))
    assert found["far"] > 0
    with pytest.raises(InjectionError, match=f"{wrapper} asks for image_size"):
        inject(model_of(two), {"far": {"name": wrapper, "base": "mpdiou"}})
