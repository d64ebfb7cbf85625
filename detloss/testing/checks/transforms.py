"""Checks with torch's transforms: compilers, vmap, meta tensors."""

import warnings
from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss.testing.check import Check
from detloss.testing.checks.values import ROUNDING
from detloss.testing.trial import Trial

BACKEND = "aot_eager"
"""It traces forward and backward as for a compiler, and runs the trace directly. That takes a tenth of inductor's time,
and a failure comes from the loss, not from a compiler."""
COMPILED = 1e-4
"""Relative difference of compiled float32 results."""


@Check
def vmap(trial: Trial) -> None:
    """Under torch.func.vmap, results equal those of single batches."""
    trial.advice = (
        "Fix: use `torch.where` instead of a mask or an `if`, and do not write into tensors of `torch.zeros`."
    )
    warnings.filterwarnings("ignore", "There is a performance drop")  # slow under vmap, but right
    pred, target = (boxes.reshape(3, 5, 4) for boxes in trial.pairs(15))
    for loss in trial.stages():
        total = _total(trial, loss)
        for what, function in (("value", total), ("gradient", torch.func.grad(total))):
            one_by_one = torch.stack([function(p, t) for p, t in zip(pred, target, strict=True)])
            # Another check is about random numbers.
            together = torch.vmap(function, randomness="different")(pred, target)
            trial.expect_close(together, one_by_one, ROUNDING, f"the same {what} under vmap", trial.advice)


@Check
def meta_device(trial: Trial) -> None:
    """On the meta device the loss gives a shape, without any value."""
    trial.advice = (
        "Fix: make every tensor on the device of the boxes (`pred.new_zeros(...)`, or a buffer), and use `torch.where` "
        "instead of a mask or an `if`."
    )
    for loss in (trial.fresh().to("meta"), trial.fresh().eval().to("meta")):
        for n in (7, 3):
            boxes = torch.empty(n, 4, device="meta")
            value = trial.one_a_pair(trial.call(loss, boxes, boxes.clone()), boxes)
            trial.expect(
                value.device.type == "meta", "values on the meta device", f"some on {value.device}", trial.advice
            )


@Check
def torch_compile(trial: Trial) -> None:
    """Under torch.compile the loss is one graph with the same results."""
    trial.advice = "Fix: decide with `torch.where`, not with `if` on a value, and call only functions of torch."
    warnings.simplefilter("ignore")  # warnings of the tracer about itself
    for loss in trial.stages():
        compiled = _compiled(loss)
        for n in (7, 12):
            pred, target = trial.pairs(n, seed=n, dtype=torch.float32)
            found = trial.values_and_gradient(compiled, pred, target)
            wanted = trial.values_and_gradient(loss, pred, target)
            for what, got, expected in zip(("values", "gradients"), found, wanted, strict=True):
                trial.expect_close(got, expected, COMPILED, f"the same {what} when compiled", trial.advice)


def _compiled(loss: BoxRegressionLoss) -> Callable[..., Tensor]:
    def function(pred: Tensor, target: Tensor, **extras: Tensor) -> Tensor:
        value: Tensor = loss(pred, target, **extras)
        return value

    # torch keeps the graphs with the code object, at most 8 of them: each loss gets a code object of its own.
    own = FunctionType(function.__code__.replace(), function.__globals__, "loss", None, function.__closure__)
    compiled: Callable[..., Tensor] = torch.compile(own, fullgraph=True, dynamic=True, backend=BACKEND)
    return compiled


def _total(trial: Trial, loss: BoxRegressionLoss) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda pred, target: trial.call(loss, pred, target).sum()
