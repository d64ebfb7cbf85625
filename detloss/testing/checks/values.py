"""Checks of the values: shape, dependencies, and the class's declarations."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from detloss.loss import Invariance
from detloss.testing.check import Check
from detloss.testing.expecting import same, scale
from detloss.testing.trial import PAIRWISE, Trial, pair_at, random_state, set_seed

ROUNDING = 1e-9
"""Relative difference of two float64 results of the same number in another order."""
EPS = 1e-5
"""Relative difference that a loss's eps may make: 1e-7 px² on the 16 px² of the smallest box, with a margin."""
FAR = 1e4
"""Distance in px between boxes at the ends of the largest image."""
FLOAT32 = 1e-3
"""Relative difference of float32 from float64: a coordinate of 600 px is exact to 3e-5 px."""


@Check
def shape(trial: Trial) -> None:
    """N pairs give N values of shape (N,), a single pair too."""
    for loss in trial.stages():
        for n in (2, 7, 1):
            pred, target = trial.pairs(n)
            value = trial.call(loss, pred, target)
            trial.one_a_pair(value, pred)
            found = tuple(value.shape)
            trial.expect(found == (n,), f"shape ({n},) for {n} pair{'s' * (n > 1)}", found, PAIRWISE)


@Check
def dtype(trial: Trial) -> None:
    """Values have the dtype of the boxes, float32 for half precision."""
    for loss in trial.stages():
        for half in (torch.float16, torch.bfloat16):
            pred, target = trial.pairs(64, dtype=half)
            asked = pred.clone().requires_grad_()
            value = trial.call(loss, asked, target)
            advice = "Fix: do not override `__call__`: the base class computes in float32."
            trial.expect(value.dtype == torch.float32, f"float32 values for {half} boxes", value.dtype, advice)
            wanted = trial.values(loss, pred.float(), target.float())
            trial.expect_close(value.detach().reshape(-1), wanted, 0.0, "the values of the same float32 boxes", advice)
            trial.expect(trial.gradient(value, asked).dtype == half, f"a {half} gradient", "another", advice)
        found = {}
        for kind in (torch.float32, torch.float64):
            pred, target = trial.pairs(64, dtype=kind)
            value = trial.call(loss, pred, target).detach()
            trial.expect(
                value.dtype == kind,
                f"{kind} values for {kind} boxes",
                value.dtype,
                "Fix: make constants with `pred.new_tensor(...)` or write them as Python numbers.",
            )
            found[kind] = value.reshape(-1)
        trial.expect_close(
            found[torch.float32],
            found[torch.float64],
            FLOAT32,
            "the same values in float32 as in float64",
            "Precision is lost in float32. Fix: avoid differences of large numbers, and squares of areas.",
        )


@Check
def empty(trial: Trial) -> None:
    """No pairs give no values, with a gradient, also in training."""
    trial.advice = "A step may have no match. Fix: compute as for any other N, without `max()` over the pairs."
    for loss in (trial.fresh(), *trial.stages()):
        for kind in (torch.float32, torch.float64):
            pairs = trial.pairs(4, dtype=kind)
            before = trial.values(loss, *pairs)
            pred = torch.zeros(0, 4, dtype=kind, requires_grad=True)
            value = trial.one_a_pair(trial.call(loss, pred, torch.zeros(0, 4, dtype=kind)), pred)
            gradient = trial.gradient(value, pred)
            trial.expect(gradient.shape == (0, 4), "a gradient of shape (0, 4)", tuple(gradient.shape), trial.advice)
            after = trial.values(loss, *pairs)
            trial.expect_each(
                torch.isfinite(after) | ~torch.isfinite(before),
                "finite values after a batch without pairs",
                after,
                "The mean of no pairs is NaN, and a running mean keeps it. Fix: update it only under `if len(pred)`.",
            )


@Check
def batch_order(trial: Trial) -> None:
    """The order of the pairs changes no value."""
    pred, target = trial.pairs(33)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    for loss in trial.stages():
        trial.expect_close(
            trial.values(loss, pred[order], target[order]),
            trial.values(loss, pred, target)[order],
            ROUNDING,
            "the same values in another order",
            "Fix: do not use a pair's place in the batch.",
        )


@Check
def batch_size(trial: Trial) -> None:
    """In evaluation mode the size of the batch changes no value."""
    pred, target = trial.pairs(33)
    for loss in trial.stages():
        together = trial.values(loss, pred, target)
        for n in (1, 2, 16):
            trial.expect_close(
                trial.values(loss, pred[:n], target[:n]),
                together[:n],
                ROUNDING,
                f"the same values in a batch of {n} as in one of 33",
                "Fix: in evaluation mode, use no mean, maximum or count over the batch.",
            )


@Check
def batch_dependence(trial: Trial) -> None:
    """A value depends on other pairs only if batch_dependent is True."""
    pred, target = trial.pairs(32)
    together = trial.values(trial.fresh(), pred, target)
    depends = 0.0
    for n in (1, 5):
        alone = trial.values(trial.fresh(), pred[:n], target[:n])
        depends = max(depends, float((alone - together[:n]).abs().max()) / scale(together))
    declared = trial.fresh().batch_dependent
    trial.expect(
        (depends > ROUNDING) is declared,
        f"a value that {'changes' if declared else 'does not change'} with the other pairs, as batch_dependent = "
        f"{declared} says",
        f"a change of {depends:.3g}",
        "Fix: compute every pair separately, without a mean or maximum over the pairs. If they must depend on each "
        "other, set `batch_dependent` on the class or, if a parameter decides it, on the instance. Heads use it "
        "for steps without pairs, and to compile a loss."
        if not declared
        else "Fix: remove `batch_dependent = True`. Heads use it for steps without pairs, and to compile a loss.",
    )


@Check
def determinism(trial: Trial) -> None:
    """The same boxes give the same results, bit for bit."""
    for kind, training in itertools.product((torch.float32, torch.float64), (False, True)):
        mode = "in training" if training else "in evaluation mode"
        pred, target = trial.pairs(33, dtype=kind)
        # In training a loss may have state: a new one is called each time. Otherwise the same one is.
        losses = [trial.fresh(), trial.fresh()] if training else [trial.fresh().eval()] * 2
        runs = []
        for number, loss in enumerate(losses):
            set_seed(number)
            before = random_state()
            asked = pred.clone().requires_grad_()
            value = loss(asked, target.clone(), **trial.extras(target)).reshape(-1)
            trial.expect(
                random_state() == before,
                f"unchanged random numbers of torch, Python and numpy {mode}",
                "a call that uses some, or sets their seed",
                "A resumed run would differ. Fix: remove noise, dropout and `manual_seed` from the loss.",
            )
            runs.append((value.detach(), trial.gradient(value, asked)))
        for what, first, second in zip(("value", "gradient"), *runs, strict=True):
            trial.expect_each(
                same(first, second),
                f"the same {what} when called again {mode}",
                second,
                "Fix: use no random numbers, and state only in training, in buffers.",
                beside=first,
            )


@Check
def minimum(trial: Trial) -> None:
    """Identical boxes have the declared minimum, and no pair is below."""
    declared: Any = trial.subject.cls.minimum
    trial.expect(
        declared is None or is_number(declared),
        "a number or None as minimum",
        repr(declared),
        "Fix: write `minimum = 0.0`.",
    )
    for loss in trial.stages():
        pred, target = trial.pairs(256)
        value, identical = trial.values(loss, pred, target), trial.values(loss, target, target)
        slack = EPS * scale(value)
        if declared is not None:
            trial.expect_each(
                (identical - declared).abs() <= slack,
                f"the declared minimum {declared:g} at identical boxes",
                identical,
                "Fix: subtract the difference, or declare it; write `minimum = None` if parameters decide it.",
            )
        trial.expect_each(
            value >= identical - slack,
            "no pair to score better than the target itself",
            value,
            "Training would move predictions away from their targets. Fix: look for a wrong sign, and check that "
            f'`space = "{loss.space}"` is right for the formula.',
            beside=identical,
        )


@Check
def value_range(trial: Trial) -> None:
    """Every value lies in the declared range."""
    bounds: Any = trial.subject.cls.value_range
    numbers = isinstance(bounds, tuple) and len(bounds) == 2 and all(map(is_number, bounds))
    trial.expect(
        numbers and bounds[0] < bounds[1],
        "value_range = (low, high)",
        repr(bounds),
        "Fix: write two numbers, the smaller one first; `float('inf')` without a bound.",
    )
    for loss in trial.stages():
        for pred, target in (*(trial.pairs(256, seed=seed) for seed in range(4)), *unlike_pairs(*trial.pairs(256))):
            expect_in_range(trial, pred, target, trial.values(loss, pred, target))


def expect_in_range(trial: Trial, pred: Tensor, target: Tensor, value: Tensor, setting: str = "") -> None:
    """Expect values of valid boxes in the declared range."""
    low, high = trial.subject.cls.value_range
    slack = EPS * scale(value)
    trial.expect_each(
        (value >= low - slack) & (value <= high + slack) | ~value.isfinite(),
        f"values in the declared range [{low:g}, {high:g}]{setting}",
        value,
        "Fix: correct `value_range` or the formula; the range holds for all parameters and all valid boxes.",
        where=partial(pair_at, pred, target),
    )


@Check
def invariances(trial: Trial) -> None:
    """Every declared invariance leaves every value unchanged."""
    declared: Any = trial.subject.cls.invariances
    known = get_args(Invariance)
    is_set = isinstance(declared, frozenset | set)
    trial.expect(is_set, "a set of invariances", repr(declared), 'Fix: write `frozenset({"translation"})`.')
    unknown = sorted(set(map(str, declared)) - set(known))
    trial.expect(not unknown, f"invariances among {', '.join(known)}", ", ".join(unknown), "Fix: correct the name.")
    pred, target = trial.pairs(128)
    for loss in trial.stages():
        before = trial.values(loss, pred, target)
        for kind in sorted(declared):
            moved_pred, moved_target = _moved(kind, pred, target)
            # Exchanged boxes keep their anchors; in all other cases anchors move with the boxes.
            extras = trial.extras(target if kind == "symmetry" else moved_target)
            trial.expect_close(
                trial.values(loss, moved_pred, moved_target, extras),
                before,
                EPS,
                f"no change under {kind}",
                f"Fix: remove {kind!r} from `invariances`, or correct the formula.",
            )


def is_number(value: object) -> bool:
    """Tell whether a value that an author wrote is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def unlike_pairs(pred: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield very different pairs: one wide and one high, and far apart."""
    x, y = pred.new_tensor((30.0, 1.0, 30.0, 1.0)), pred.new_tensor((1.0, 30.0, 1.0, 30.0))
    yield pred * x, target * y
    yield pred * y, target * x
    yield pred + FAR, target


def _moved(kind: str, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    # Factors above 1, so that a loss's eps matters less.
    x, y = 3.0, 1.5
    by = pred.new_tensor((x, y, x, y))
    match kind:
        case "translation":
            return pred + 40 * by, target + 40 * by
        case "scale":
            return pred * x, target * x
        case "axis_scale":
            return pred * by, target * by
        case _:
            return target, pred
