"""Checks of a head adapter, the cheapest first."""

import copy
import pickle
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from detloss.errors import InjectionError
from detloss.heads.pickled import PlainPickles
from detloss.injection import eject, injected
from detloss.loss import EXTRAS, BoxRegressionLoss
from detloss.testing.check import Check, Kind
from detloss.testing.expecting import DoesNotApply
from detloss.testing.head_ranks import Counted, means
from detloss.testing.head_trial import HeadTrial, head_subject_of

AT_THE_BOXES = 1e-5
"""Relative difference from the stock loss at the head's output."""
IN_THE_MODEL = 1e-4
"""Relative difference of a loss or gradient in the whole model, where rounding adds up."""
DECODED = 1e-3
"""Difference of decoded targets, relative to the largest coordinate."""
PATIENCE = 120
"""Seconds that two ranks get. They need a few, and most of those go to imports."""

_head = partial(Check, kind=Kind("head", head_subject_of, HeadTrial))


@_head
def class_and_keys(trial: HeadTrial) -> None:
    """Injected, the model keeps its class names and checkpoint keys."""
    stock, model = trial.model(), trial.with_stock()
    names = [_full_name(type(module)) for module in stock.modules()]
    found = [_full_name(type(module)) for path, module in model.named_modules() if not _in_slot(trial, path)]
    trial.expect(found == names, "the classes to keep their names", sorted({*found} - {*names}), _NOTHING_ELSE)
    keys = list(stock.state_dict())
    trial.expect(list(model.state_dict()) == keys, "the keys of the stock model", [*model.state_dict()], _NOTHING_ELSE)
    model.load_state_dict(stock.state_dict())
    stock.load_state_dict(model.state_dict())


@_head
def pairs(trial: HeadTrial) -> None:
    """Encoded targets decode to the matched boxes, in pixels."""
    matches = trial.matches(trial.with_stock())
    decoded, boxes = matches.decode(matches.target_deltas().to(matches.pred_deltas.dtype)), matches.target_boxes
    advice = "Fix: give target_boxes as x1, y1, x2, y2 in pixels of the network input, and decode to the same."
    trial.expect_close(decoded, boxes, DECODED, "decode(target_deltas()) to be target_boxes", advice)
    trial.expect_each((boxes[:, 2:] > boxes[:, :2]).all(dim=1), "matched boxes with x1 < x2 and y1 < y2", boxes, advice)


@_head
def extras(trial: HeadTrial) -> None:
    """The head supplies the extras that it promises."""
    supplies = trial.subject.cls.supplies
    unknown = sorted(supplies - EXTRAS.keys())
    trial.expect(not unknown, f"supplies to name {', '.join(sorted(EXTRAS))}", unknown, "Fix: correct the names.")
    matches = trial.matches(trial.with_stock())
    size = None if matches.image_size is None else matches.image_size()
    given = {"image_size": (size, 2), "anchors": (matches.anchors, 4)}
    for name in sorted(supplies):
        tensor, columns = given[name]
        found = None if tensor is None else tuple(tensor.shape)
        advice = f"Fix: give {name} in the matches, or remove it from supplies."
        trial.expect(found == (len(matches), columns), f"{name} of shape ({len(matches)}, {columns})", found, advice)
    if "image_size" in supplies and size is not None:
        inside = matches.target_boxes.amax(dim=1) <= size.amax(dim=1).to(matches.target_boxes.dtype) + 1
        advice = "Fix: give height and width of the network input, in the pixels of target_boxes."
        trial.expect_each(inside, "target boxes inside of their image", matches.target_boxes, advice)


@_head
def stock_at_the_boxes(trial: HeadTrial) -> None:
    """Loss and gradient at the head's output equal the stock loss's."""
    model = trial.with_stock()
    matches = trial.matches(model)
    (part,), stock = trial.losses_in(model).parts(matches), matches.stock_loss()
    part = part.sum()
    advice = "Fix: check decode, target_boxes, stock_divisor and weights, and that stock_loss is without gain."
    trial.expect_near(part, stock, AT_THE_BOXES, "the value of stock_loss()", advice)
    (found,) = torch.autograd.grad(part, matches.head_output, retain_graph=True)
    (wanted,) = torch.autograd.grad(stock, matches.head_output)
    trial.expect(bool(wanted.norm() > 0), "a stock loss with a gradient", "zero", "Fix: use other images.")
    trial.expect_near(found, wanted, AT_THE_BOXES, "the gradient of stock_loss()", advice)


@_head
def stock_in_the_model(trial: HeadTrial) -> None:
    """Every loss and every parameter's gradient equal the stock model's."""
    wanted, found = trial.step(trial.model()), trial.step(trial.with_stock())
    advice = "Fix: replace one entry, with the head's own gain, and detach nothing."
    trial.expect_equal_steps(found, wanted, IN_THE_MODEL, advice)


@_head
def one_entry(trial: HeadTrial) -> None:
    """A weight of 3 multiplies the replaced loss, and nothing else changes."""
    stock, found = trial.step(trial.model()).losses, trial.step(trial.with_stock(weight=3)).losses
    replaced = [name for name in stock if trial.example.is_replaced(name)]
    advice = "Fix: replace only the entry that the example names, and keep the head's own gain."
    trial.expect(bool(replaced), f"losses named {trial.example.replaced}", [*stock], advice)
    for name, value in stock.items():
        if name in replaced:
            trial.expect_near(found[name], 3 * value, IN_THE_MODEL, f"3 times {name}", advice)
        else:
            same = torch.equal(found[name], value)
            trial.expect(same, f"{name} unchanged ({float(value):.6g})", f"{float(found[name]):.6g}", advice)


@_head
def one_call(trial: HeadTrial) -> None:
    """A step calls each loss once, also without an object."""
    for objects in (True, False):
        loss = Counted()
        trial.run(trial.put_in(trial.model(), loss), objects=objects)
        found = f"{loss.calls} calls {'with' if objects else 'without'} objects"
        trial.expect(loss.calls == 1, "one call in a step", found, _ONE_CALL)


@_head
def no_objects(trial: HeadTrial) -> None:
    """Without an object the replaced losses are 0, connected to the graph."""
    wanted, model = trial.step(trial.model(), objects=False), trial.with_stock()
    found = trial.step(model, objects=False)
    advice = "Fix: call box_loss with matches of length 0 that are part of the graph."
    for name, value in found.losses.items():
        if trial.example.is_replaced(name):
            trial.expect(float(value) == 0, f"{name} to be 0", float(value), advice)
    trial.expect_equal_steps(found, wanted, IN_THE_MODEL, advice)


@_head
def copies(trial: HeadTrial) -> None:
    """Copies and pickles have the losses; a plain pickle has none."""
    model = trial.with_stock(weight=3)
    wanted, said = trial.step(model), str(injected(model))
    trial.advice = advice = "Fix: keep no function, lock or tensor of the graph in an attribute of the head."
    others = [copy.deepcopy(model)]
    stock = trial.model()
    trial.run(stock)
    if not _can_be_pickled(stock):  # torch.save of its state is all that such a model allows
        trial.remarks.append("The stock model cannot be pickled.")
    elif not issubclass(trial.subject.cls, PlainPickles):
        others.append(pickle.loads(pickle.dumps(model)))
    for other in others:
        trial.expect(str(injected(other)) == said, f"a copy with {said}", str(injected(other)), advice)
        trial.expect_equal_steps(trial.step(other), wanted, IN_THE_MODEL, advice)
    if issubclass(trial.subject.cls, PlainPickles):
        data = pickle.dumps(model)
        trial.expect(b"detloss" not in data, "a pickle without detloss", "its name in the pickle", advice)
        plain = pickle.loads(data)
        trial.expect_equal_steps(trial.step(plain), trial.step(trial.model()), IN_THE_MODEL, advice)


@_head
def two_models(trial: HeadTrial) -> None:
    """Another model of the process keeps its class and losses."""
    stock = trial.model()
    before, cls = trial.step(stock), [type(module) for module in stock.modules()]
    changed = trial.with_stock(weight=3)
    trial.run(changed)
    trial.expect([type(module) for module in stock.modules()] == cls, "its own classes", "others", _NOTHING_ELSE)
    _expect_same(trial, trial.step(stock).losses, before.losses)


@_head
def ejected(trial: HeadTrial) -> None:
    """`eject` gives back classes, attributes and losses."""
    stock, model = trial.model(), trial.with_stock(weight=3)
    trial.run(model)
    eject(model)
    fresh = trial.model()
    trial.run(fresh)  # a step may make modules
    for before, after in zip(fresh.modules(), model.modules(), strict=True):
        trial.expect(type(after) is type(before), f"the class {type(before)}", type(after), _NOTHING_ELSE)
    attributes = [sorted(vars(module)) for module in fresh.modules()]
    found = [sorted(vars(module)) for module in model.modules()]
    left = {name for names in found for name in names} - {name for names in attributes for name in names}
    trial.expect(found == attributes, "the attributes of a stock model", sorted(left) or "fewer", _NOTHING_ELSE)
    _expect_same(trial, trial.run(model)[0], trial.run(stock)[0])


@_head
def other_extras(trial: HeadTrial) -> None:
    """A loss that asks for what the head lacks is refused."""
    lacking = sorted(EXTRAS.keys() - trial.subject.cls.supplies)
    if not lacking:
        raise DoesNotApply("It supplies all extras.")
    for name in lacking:
        model = trial.model()
        try:
            trial.put_in(model, _ASKING[name]())
        except InjectionError:
            refused = not injected(model)
        else:
            refused = False
        trial.expect(refused, f"a loss that asks for {name} to be refused", "accepted", "Fix: correct supplies.")


@_head
def ranks(trial: HeadTrial) -> None:
    """A loss that synchronizes ends on two ranks, one without an object."""
    try:
        first, second = means(trial.subject.who, PATIENCE)
    except TimeoutError:
        trial.expect(False, "both ranks to end", f"they still wait after {PATIENCE} s", _ONE_CALL)
    except RuntimeError as failed:
        trial.expect(False, "both ranks to end", f"an error: {failed!s:.200}", _ONE_CALL)
    else:
        trial.expect(first == second, "one mean on both ranks", f"{first} and {second}", _ONE_CALL)


HEAD_CHECKS: tuple[Check, ...] = tuple(check for check in list(vars().values()) if isinstance(check, Check))
"""The promises of every head, in the order of this file; ``docs/contract.md`` has the table."""


class _AskingSize(BoxRegressionLoss):
    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor) -> Tensor:
        return ((pred - target) / image_size[:, :1]).abs().sum(-1)


class _AskingAnchors(BoxRegressionLoss):
    def forward(self, pred: Tensor, target: Tensor, *, anchors: Tensor) -> Tensor:
        return (pred - target + 0 * anchors).abs().sum(-1)


_ASKING = {"image_size": _AskingSize, "anchors": _AskingAnchors}


def _expect_same(trial: HeadTrial, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    ok = found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    trial.expect(ok, "the stock model's own losses, bit for bit", "others", _NOTHING_ELSE)


def _can_be_pickled(model: nn.Module) -> bool:
    try:
        pickle.dumps(model)
    except Exception:  # noqa: BLE001 - pickle raises many errors, and only asks whether
        return False
    return True


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _in_slot(trial: HeadTrial, path: str) -> bool:
    return trial.subject.cls.slot in path.split(".")


_NOTHING_ELSE = "Fix: change only the instance, through the methods of the adapter, and no module, class or attribute."
_ONE_CALL = (
    "Fix: call box_loss once in each step that computes losses, with matches of length 0 if there is no object: the "
    "ranks of a distributed job wait for each other in it."
)
