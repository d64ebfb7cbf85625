"""A loss under ``compile: true``: one compiled function for values and slopes.

The value of a pair depends only on that pair, so the gradient of a weighted sum is each slope times its weight.
`torch.compile` builds no backward pass: one loop over the boxes computes values and slopes, and backward is a
multiplication. If a value depends on more, forward and backward are compiled as those of any module.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd import Function

from detloss.errors import InjectionError
from detloss.loss import BoxRegressionLoss

FEWEST_PAIRS = 5
"""Fewer pairs run eagerly: torch.compile would make extra graphs for N = 0 and 1, and for the other sides 2 and 4."""

INDUCTOR_OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"cpp.enable_tiling_heuristics": False}
"""On CPU, inductor does not vectorize a loop over the columns of ``(N, 4)`` by default. With vector instructions these
loops take less than a third of the time."""

_log = logging.getLogger("detloss")


def call_compiled(loss: BoxRegressionLoss, pred: Tensor, target: Tensor, **extras: Tensor) -> Tensor:
    """Return ``loss(pred, target, **extras)``, computed by `torch.compile`.

    The first call compiles a graph for every number of pairs (torch makes one more for tensors that begin inside
    another's memory). The loss itself stores nothing: it can be copied, pickled and saved, and a copy compiles again.
    Second derivatives are those of the eager loss.

    Args:
        loss: The loss; it may be moved, trained and evaluated between calls.
        pred: ``(N, 4)`` predictions.
        target: ``(N, 4)`` targets of the same dtype; no gradient flows into them.
        **extras: What the loss asks for.

    Returns:
        ``(N,)`` values.

    Raises:
        InjectionError: torch finds no compiler, or cannot compile the loss.
    """
    if len(pred) < FEWEST_PAIRS or torch.compiler.is_compiling():
        values: Tensor = loss(pred, target, **extras)
        return values
    function, gives_slopes = _COMPILED.get(loss) or _compile(loss)
    # One layout, one graph.
    pred, target = pred.contiguous(), target.contiguous()
    extras = {name: extra.contiguous() for name, extra in extras.items()}
    compiled = partial(function, loss, extras)
    try:
        if gives_slopes:
            values = _ValuesWithSlopes.apply(pred, target, compiled, partial(loss, **extras))
        else:
            values = compiled(pred, target)
    except torch._dynamo.exc.ShortenTraceback as error:  # what the backend raises, a missing compiler included
        found = str(error).strip().partition("\n")[0]
        raise InjectionError(
            f"{type(loss).__name__} has compile: true, but torch.compile failed on {pred.device} with {found!r}. It "
            "needs a C++ compiler (g++ or clang++, on the PATH or in the environment variable CXX), and Triton "
            "for a GPU. Fix: install what is missing, or set compile: false."
        ) from error
    return values


def is_per_pair(loss: BoxRegressionLoss) -> bool:
    """Return whether a value depends only on its own pair.

    That is: not on another pair, a parameter or state.
    """
    alone = not any(getattr(part, "batch_dependent", False) for part in loss.modules())
    return alone and not [*loss.parameters(), *loss.buffers()]


class _ValuesWithSlopes(Function):
    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        compiled: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        eager: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        # detach() gives a view, and torch.compile makes a graph for each kind of view and base.
        values, slopes = compiled(pred.data, target.data)
        ctx.save_for_backward(slopes, pred, target)
        ctx.eager = eager
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes, pred, target = ctx.saved_tensors
        if torch.is_grad_enabled():
            # With create_graph, a second derivative is possible, and the slopes are constants.
            return *torch.autograd.grad(ctx.eager(pred, target), pred, grad, create_graph=True), None, None, None
        return grad.unsqueeze(-1) * slopes, None, None, None


def _values(loss: BoxRegressionLoss, extras: Mapping[str, Tensor], pred: Tensor, target: Tensor) -> Tensor:
    values: Tensor = loss(pred, target, **extras)
    return values


def _values_and_slopes(
    loss: BoxRegressionLoss, extras: Mapping[str, Tensor], pred: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    def total_and_values(pred: Tensor) -> tuple[Tensor, Tensor]:
        values = loss(pred, target, **extras)
        return values.sum(), values

    slopes, values = torch.func.grad(total_and_values, has_aux=True)(pred)
    return values, slopes


class _Compiled(NamedTuple):
    function: Callable[..., Any]
    gives_slopes: bool


_COMPILED: WeakKeyDictionary[BoxRegressionLoss, _Compiled] = WeakKeyDictionary()


def _compile(loss: BoxRegressionLoss) -> _Compiled:
    gives_slopes = is_per_pair(loss)
    if not gives_slopes:
        _log.debug("%s depends on more than the pair: its backward is compiled separately", type(loss).__name__)
    function = _values_and_slopes if gives_slopes else _values
    # torch keeps the graphs with the code object, at most 8 of them: each loss gets a code object of its own.
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    _COMPILED[loss] = _Compiled(torch.compile(own, dynamic=True, options=INDUCTOR_OPTIONS), gives_slopes)
    return _COMPILED[loss]
