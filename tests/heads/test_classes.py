"""The class in front of an instance's own: under other classes, in copies, and in methods that a wrapper kept."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
from tiny_detectors import BOX_LOSS, HEADS, batch, detector, faster_rcnn, head_module, retinanet, step
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detloss import InjectionError, eject, inject, injected, validation_losses
from detloss.heads.base import HeadAdapter
from detloss.heads.classes import in_front, made_of, taken_out
from detloss.heads.roi_heads import RoIHeadsAdapter
from detloss.heads.rpn import RPNAdapter
from detloss.heads.slots import adapted

every_head = pytest.mark.parametrize("head", HEADS)


def box_loss(model: nn.Module, head: str) -> float:
    return step(model, batch())[BOX_LOSS[head]].item()


def expected(head: str, loss: str | None = None) -> float:
    return box_loss(detector(head) if loss is None else inject(detector(head), {head: loss}), head)


class ScaledHeads(RoIHeads):
    """A user's head with a parameter of its own."""

    def scaled(self) -> Tensor:
        return 2 * self.scale


class Positive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def scaled_faster_rcnn() -> Any:
    model = faster_rcnn()
    model.roi_heads.__class__ = ScaledHeads
    model.roi_heads.scale = nn.Parameter(torch.zeros(()))
    return model


def on_top(instance: nn.Module) -> type:
    """Put a class on top of the instance's, as clients do that need no super()."""
    instance.__class__ = type("OnTop", (type(instance),), {"answer": property(lambda self: 42)})
    return type(instance)


def test_one_class_for_each_pair() -> None:
    """The class is made once, keeps the name of the original, and says what it was made of."""
    made = in_front(RoIHeadsAdapter, RoIHeads)
    assert made is adapted(RoIHeadsAdapter, RoIHeads) is adapted(RoIHeadsAdapter, made)
    assert (made.__name__, made.__module__) == ("RoIHeads", RoIHeads.__module__)
    assert made_of(made) == (RoIHeadsAdapter, RoIHeads)
    assert made_of(RoIHeads) is None
    assert taken_out(made, RoIHeadsAdapter) is taken_out(RoIHeads, RoIHeadsAdapter) is RoIHeads


def test_another_adapter_replaces_the_first() -> None:
    """A class has one adapter at a time: another one takes the place of the first, also below a class on top."""
    made = in_front(RoIHeadsAdapter, RoIHeads)
    top = type("Top", (made,), {})
    assert made_of(adapted(RPNAdapter, made)) == (RPNAdapter, RoIHeads)
    front, original = made_of(adapted(RPNAdapter, top)) or (None, None)
    assert front is RPNAdapter
    assert original.__name__ == "Top"
    assert original.__bases__ == (RoIHeads,)


@every_head
def test_a_class_on_top_stays_on_top(head: str) -> None:
    """A class that another library put on top is still there after eject and after another injection, and works."""
    model = inject(detector(head), {head: "l1"})
    module = head_module(model, head)
    top = on_top(module)
    inject(model, {head: "mpdiou"})
    assert type(module) is top
    assert box_loss(model, head) == expected(head, "mpdiou")
    eject(model)
    assert type(module).__name__ == "OnTop"
    assert type(module).__bases__ == (type(head_module(detector(head), head)),)
    assert module.answer == 42
    assert box_loss(model, head) == expected(head)
    assert box_loss(inject(model, {head: "mpdiou"}), head) == expected(head, "mpdiou")


def test_a_class_on_top_that_calls_super_is_refused_before_anything_changes() -> None:
    """super() ties a class to the one that it was put on: eject says so, and leaves all heads as they were."""
    model = inject(faster_rcnn(), {"rpn": "giou", "roi_heads": "giou"})

    class Timed(type(model.roi_heads)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    below, model.roi_heads.__class__ = type(model.roi_heads), Timed
    with pytest.raises(InjectionError, match=r"Timed was put on top of the injected RoIHeads.*Fix: restore the class"):
        eject(model)
    assert list(injected(model)) == ["rpn", "roi_heads"]
    assert box_loss(inject(model, {"roi_heads": "diou"}), "roi_heads") == expected("roi_heads", "diou")
    model.roi_heads.__class__ = below
    assert type(eject(model).roi_heads) is RoIHeads


@pytest.mark.parametrize("kind", ["property", "static", "class", "decorated"])
def test_super_is_found_in_every_kind_of_method(kind: str) -> None:
    """Wherever in a class on top super() is called, the class is not moved."""
    made = in_front(RoIHeadsAdapter, RoIHeads)

    class Top(made):  # type: ignore[misc, valid-type]
        def method(self) -> Any:
            return super().has_mask()

    plain = vars(Top)["method"]
    kinds = {
        "property": property(plain),
        "static": staticmethod(plain),
        "class": classmethod(plain),
        "decorated": torch.no_grad()(plain),
    }
    with pytest.raises(InjectionError, match="super"):
        taken_out(type("Other", (made,), {"value": kinds[kind]}), RoIHeadsAdapter)


def test_parametrized_after_the_injection() -> None:
    """A parametrization of the head's own parameter survives eject, can be copied, and can be removed."""
    model = inject(scaled_faster_rcnn(), {"roi_heads": "giou"})
    parametrize.register_parametrization(model.roi_heads, "scale", Positive())
    other = copy.deepcopy(model)
    assert box_loss(other, "roi_heads") == box_loss(model, "roi_heads") == expected("roi_heads", "giou")
    for one in (model, other):
        eject(one)
        assert one.roi_heads.scaled() == 2  # exp(0) * 2
        assert parametrize.type_before_parametrizations(one.roi_heads) is ScaledHeads
        with pytest.raises(RuntimeError, match="parametrized modules"):  # torch's own refusal
            pickle.dumps(one)
        assert type(parametrize.remove_parametrizations(one.roi_heads, "scale")) is ScaledHeads


def test_parametrized_before_the_injection() -> None:
    """A head that was parametrized before gets its very class back."""
    model = scaled_faster_rcnn()
    parametrize.register_parametrization(model.roi_heads, "scale", Positive())
    before = type(model.roi_heads)
    inject(model, {"roi_heads": "giou"})
    assert box_loss(copy.deepcopy(model), "roi_heads") == expected("roi_heads", "giou")
    assert model.roi_heads.scaled() == 2
    assert type(eject(model).roi_heads) is before
    assert type(parametrize.remove_parametrizations(model.roi_heads, "scale")) is ScaledHeads


def test_a_class_on_top_is_pickled_by_its_own_name() -> None:
    """Pickle looks for a class on top as it does without losses, and does not lose it without a word."""
    messages = []
    for model in (retinanet(), inject(retinanet(), {"retinanet": "giou"})):
        on_top(model)
        assert type(copy.deepcopy(model)) is type(model)
        with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
            pickle.dumps(model)
        messages.append(str(caught.value).partition(":")[0])
    assert messages[0] == messages[1]
    assert "OnTop" in messages[0]


@every_head
def test_an_instance_forward_in_either_order(head: str) -> None:
    """A forward that another library gave the detector, around its own, runs with the losses and after them."""
    calls = []

    def wrap(model: Any) -> Any:
        own = model.forward
        model.forward = MethodType(lambda self, *args: calls.append(1) or own(*args), model)
        return model

    before, after = wrap(detector(head)), wrap(inject(detector(head), {head: "mpdiou"}))
    inject(before, {head: "mpdiou"})
    for model in (before, after):
        assert box_loss(model, head) == expected(head, "mpdiou")
        with torch.no_grad(), validation_losses(model.eval()):
            losses, detections = model(*batch())
        assert losses[BOX_LOSS[head]].isfinite()
        assert len(detections) == 2
        assert box_loss(eject(model), head) == expected(head)
        assert box_loss(inject(model, {head: "mpdiou"}), head) == expected(head, "mpdiou")
    assert len(calls) == 2 * 5


@every_head
def test_a_method_that_was_wrapped_after_the_injection_works_after_eject(head: str) -> None:
    """A wrapper around an injected method calls the head's own once the losses are out."""
    name = "select_training_samples" if head == "roi_heads" else "compute_loss"
    model = inject(detector(head), {head: "giou"})
    module = head_module(model, head)
    kept = getattr(module, name)
    setattr(module, name, partial(kept))
    assert box_loss(model, head) == expected(head, "giou")
    assert box_loss(eject(model), head) == expected(head)


def test_a_patch_that_was_undone_leaves_nothing() -> None:
    """A method that was replaced and set back is an attribute of the instance, which eject takes away again."""
    model = inject(faster_rcnn(), {"roi_heads": "giou"})
    attributes = set(vars(faster_rcnn().roi_heads))
    kept = model.roi_heads.forward
    model.roi_heads.forward = None
    model.roi_heads.forward = kept
    assert box_loss(model, "roi_heads") == expected("roi_heads", "giou")
    eject(model)
    assert set(vars(model.roi_heads)) == attributes
    assert box_loss(inject(model, {"roi_heads": "giou"}), "roi_heads") == expected("roi_heads", "giou")


def test_a_forward_that_is_called_directly_has_its_record() -> None:
    """`model.forward(...)`, past hooks and `__call__`, computes a loss that asks for the sizes of the images."""
    model = inject(retinanet(), {"retinanet": "mpdiou"})
    assert model.forward(*batch())["bbox_regression"].item() == expected("retinanet", "mpdiou")


def test_a_copy_that_was_made_in_a_step_is_not_in_it() -> None:
    """A copy that a hook makes during a training step has none of the step's records."""
    model = inject(retinanet(), {"retinanet": "mpdiou"})
    copies = []
    hook = model.backbone.register_forward_pre_hook(lambda *_: copies.append(copy.deepcopy(model)))
    box_loss(model, "retinanet")
    hook.remove()
    (copied,) = copies
    assert type(copied.transform) is GeneralizedRCNNTransform
    assert "_calls" not in vars(copied)


def test_inject_and_eject_in_eval_losses() -> None:
    """Losses may go in and out while the model returns its losses in eval mode: both last."""
    model = detector("retinanet").eval()
    with torch.no_grad(), validation_losses(model):
        inject(model, {"retinanet": "mpdiou"})
        assert model(*batch())[0]["bbox_regression"].isfinite()
    assert isinstance(model, HeadAdapter)
    with torch.no_grad(), validation_losses(model):
        eject(model)
        assert model(*batch())[0]["bbox_regression"].isfinite()
    assert type(model) is RetinaNet
    assert box_loss(model, "retinanet") == expected("retinanet")


@pytest.mark.slow
@pytest.mark.xdist_group("compiled")
@pytest.mark.filterwarnings("default")  # the tracer of torch.compile trips over warnings of its own
@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_before_and_after_the_injection(in_place: bool) -> None:
    """`torch.compile` and `Module.compile` keep methods from when they ran; losses go in and out all the same."""

    def compiled(model: Any) -> Any:
        if not in_place:
            return torch.compile(model, backend="eager")
        model.compile(backend="eager")
        return model

    stock, loss = expected("ssd"), expected("ssd", "mpdiou")
    before, after = compiled(detector("ssd")), compiled(inject(detector("ssd"), {"ssd": "mpdiou"}))
    assert box_loss(before, "ssd") == pytest.approx(stock)
    for model in (inject(before, {"ssd": "mpdiou"}), after):
        assert box_loss(model, "ssd") == pytest.approx(loss)
        assert box_loss(eject(model), "ssd") == pytest.approx(stock)
