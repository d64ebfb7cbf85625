"""Checks with degenerate boxes: without area, inverted, far away, NaN."""

import warnings
from functools import partial

import torch
from torch import Tensor

from detloss.testing.check import Check
from detloss.testing.expecting import DoesNotApply, same, shown
from detloss.testing.trial import Pair, Trial, pair_at

DEGENERATE: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "identical": ((10, 20, 110, 70), (10, 20, 110, 70)),
    "nested, one center": ((20, 20, 40, 40), (10, 10, 50, 50)),
    "touching sides": ((0, 0, 10, 10), (10, 0, 20, 10)),
    "touching corners": ((0, 0, 10, 10), (10, 10, 20, 20)),
    "pred a point": ((15, 15, 15, 15), (10, 10, 20, 20)),
    "pred without width": ((15, 10, 15, 20), (10, 10, 20, 20)),
    "pred without height": ((10, 15, 20, 15), (10, 10, 20, 20)),
    "target a point": ((10, 10, 20, 20), (15, 15, 15, 15)),
    "target without height": ((10, 10, 20, 20), (10, 15, 20, 15)),
    "both the same point": ((15, 15, 15, 15), (15, 15, 15, 15)),
    "two points": ((0, 0, 0, 0), (15, 15, 15, 15)),
    "both at 0": ((0, 0, 0, 0), (0, 0, 0, 0)),
    "pred inverted": ((20, 20, 10, 10), (10, 10, 20, 20)),
    "pred inverted in x": ((20, 10, 10, 20), (10, 10, 20, 20)),
    "target inverted": ((10, 10, 20, 20), (20, 20, 10, 10)),
    "both inverted": ((20, 20, 10, 10), (20, 20, 10, 10)),
    "tiny": ((0, 0, 1e-6, 1e-6), (0, 0, 2e-6, 1e-6)),
    "tiny and far": ((1e5, 0, 1e5, 1e-6), (0, 0, 1e-6, 1e-6)),
    "far apart": ((0, 0, 10, 10), (1e6, 1e6, 1e6 + 10, 1e6 + 10)),
    "pred enormous": ((-1e19, -1e19, 1e19, 1e19), (10, 10, 20, 20)),
    "pred at 1e19": ((1e19, 1e19, 1e19, 1e19), (10, 10, 20, 20)),
    "target enormous": ((10, 10, 20, 20), (-1e19, -1e19, 1e19, 1e19)),
    "both enormous": ((-1e19, -1e19, 1e19, 1e19), (-1e19, -1e19, 1e19, 1e19)),
    "pred inverted at 1e19": ((1e19, 1e19, -1e19, -1e19), (10, 10, 20, 20)),
}
"""Kind -> prediction and target. For a loss on deltas, the same numbers are large deltas."""

DTYPES = (torch.float32, torch.float64)
ROWS, PLACE = 9, 4
"""Number of ordinary pairs around a degenerate one, and its place."""


@Check
def finite_value(trial: Trial) -> None:
    """Every degenerate pair has a finite value."""
    _expect_finite(
        trial,
        "value",
        "Fix: add an eps to denominators and to the arguments of logarithms, and limit coordinates before squaring "
        "them, or use `detloss.boxes.pair_boxes`.",
    )


@Check
def finite_gradient(trial: Trial) -> None:
    """Every degenerate pair has a finite gradient."""
    _expect_finite(
        trial,
        "gradient",
        "A root has an infinite slope at 0, and `where` passes the NaN of its unused branch. Fix: add an eps inside "
        "the root or the denominator, or use `detloss.boxes.distance`.",
    )


@Check
def rows_unchanged(trial: Trial) -> None:
    """A degenerate pair changes no bit of the results of others."""
    trial.advice = _ANYTHING
    others = torch.arange(ROWS) != PLACE
    for dtype in DTYPES:
        ordinary_pred, ordinary_target = trial.pairs(ROWS, dtype=dtype)
        for loss in trial.stages():
            expected = trial.values_and_gradient(loss, ordinary_pred, ordinary_target)
            for kind, (bad_pred, bad_target) in DEGENERATE.items():
                pred, target = ordinary_pred.clone(), ordinary_target.clone()
                pred[PLACE], target[PLACE] = pred.new_tensor(bad_pred), target.new_tensor(bad_target)
                found = trial.values_and_gradient(loss, pred, target)
                for what, got, wanted in zip(("value", "gradient"), found, expected, strict=True):
                    trial.expect_each(
                        same(got, wanted)[others],
                        f"the same {what} of a pair next to a degenerate one ({kind})",
                        got[others],
                        "Fix: compute every pair separately; one bad box must not affect the batch.",
                        beside=wanted[others],
                    )


@Check
def nan(trial: Trial) -> None:
    """A NaN coordinate makes the pair's value NaN, and no other."""
    for loss in trial.stages():
        ordinary_pred, ordinary_target = trial.pairs(ROWS, dtype=torch.float32)
        expected = trial.values(loss, ordinary_pred, ordinary_target)
        pred, target = ordinary_pred.clone(), ordinary_target.clone()
        rows = torch.arange(4)
        pred[rows, rows] = torch.nan
        target[rows + 4, rows] = torch.nan
        value = trial.values(loss, pred, target)
        broken = (pred + target).isnan().any(dim=1)
        trial.expect_each(
            torch.where(broken, value.isnan(), same(value, expected)),
            "NaN for a pair that is NaN, and an unchanged value for any other",
            value,
            "A comparison with NaN is false, and `torch.where` then takes its other branch. Fix: test for the case "
            "of value 0, as in `torch.where(x == 0, 0, ...)`, so that NaN stays NaN.",
            where=partial(pair_at, pred, target),
        )


@Check
def inverted_boxes(trial: Trial) -> None:
    """An inverted prediction scores no better than one that misses."""
    if trial.subject.cls.space == "deltas":
        raise DoesNotApply("It works on deltas, which cannot be inverted.")
    target = torch.tensor([300.0, 300, 400, 400])
    near = torch.tensor([[400.0, 400, 300, 300], [400, 300, 300, 400], [300, 400, 400, 300], [351, 351, 349, 349]])
    valid = 3 * trial.pairs(64, dtype=torch.float32)[0]
    # x2 < x1, y2 < y1, and both.
    inverted = torch.cat([near, *(valid[:, order] for order in ([2, 1, 0, 3], [0, 3, 2, 1], [2, 3, 0, 1]))])
    missing = torch.tensor(
        [[0.0, 0, 100, 100], [900, 700, 1000, 800], [401, 300, 501, 400], [0, 0, 1000, 299], [10, 10, 11, 11]]
    )
    for loss in trial.stages():
        worst = trial.values(loss, missing, target.repeat(len(missing), 1)).max()
        value = trial.values(loss, inverted, target.repeat(len(inverted), 1))
        trial.expect_each(
            ~(value < worst),
            f"at least {shown(worst)}, the largest of some boxes that miss the target",
            value,
            "An inverted box has no area, but its center or corners may be close. Fix: add the largest value where "
            "`detloss.boxes.inverted(pred)`. For a loss on the head's encoded regression, write `space = "
            '"deltas"`.',
            where=partial(pair_at, inverted, target.expand_as(inverted)),
        )


@Check
def mismatched_shapes(trial: Trial) -> None:
    """Predictions and targets of different number are an error, not a result."""
    pred, target = trial.pairs(5)
    for loss in trial.stages():
        for n, m in ((3, 2), (2, 3), (5, 4)):
            found = "no error"
            with warnings.catch_warnings():
                # Torch's own losses warn about the shapes before they fail.
                warnings.simplefilter("ignore")
                try:
                    value = trial.call(loss, pred[:n].clone(), target[:m].clone(), trial.extras(target[:m]))
                    found = f"a result of shape {tuple(value.shape)}"
                except Exception:  # noqa: BLE001 - any error is right
                    found = ""
            trial.expect(
                not found,
                f"an error for {n} predictions and {m} targets",
                found,
                "Fix: do not cut or repeat either; torch's operations refuse them.",
            )


def degenerate_pairs(dtype: torch.dtype) -> Pair:
    """Return all degenerate pairs as a batch."""
    pred, target = torch.tensor(list(DEGENERATE.values()), dtype=dtype).unbind(1)
    return pred, target


def _expect_finite(trial: Trial, what: str, advice: str) -> None:
    trial.advice = _ANYTHING
    for dtype in DTYPES:
        pred, target = degenerate_pairs(dtype)
        for loss in (trial.fresh(), *trial.stages()):
            if what == "value":
                found = trial.values(loss, pred, target)
            else:
                _, found = trial.values_and_gradient(loss, pred, target)
            where = partial(_degenerate_pair, pred, target)
            trial.expect_each(torch.isfinite(found), f"a finite {what}", found, advice, where=where)


def _degenerate_pair(pred: Tensor, target: Tensor, row: int) -> str:
    dtype = str(pred.dtype).removeprefix("torch.")
    return f"{list(DEGENERATE)[row]!r} ({pair_at(pred, target, row)}, {dtype})"


_ANYTHING = "Fix: return a value, not an error: predictions may be without area, inverted or far away."
