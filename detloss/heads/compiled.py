"""A loss under ``compile: true``: one compiled function for values and slopes.

The value of a pair depends only on that pair, so the gradient of a weighted sum is each slope times its weight.
`torch.compile` builds no backward pass: one loop over the boxes computes values and slopes, and backward is a
multiplication. Where this is not possible or slower, the loss stays eager.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any
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
    Second derivatives are those of the eager loss. Only for a loss that `compiles`.

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
    compiled = _COMPILED.get(loss) or _compile(loss)
    # One layout, one graph.
    pred, target = pred.contiguous(), target.contiguous()
    extras = {name: extra.contiguous() for name, extra in extras.items()}
    try:
        values = _ValuesWithSlopes.apply(pred, target, partial(compiled, loss, extras), partial(loss, **extras))
    except torch._dynamo.exc.ShortenTraceback as error:  # what the backend raises, a missing compiler included
        found = str(error).strip().partition("\n")[0]
        raise InjectionError(
            f"{type(loss).__name__} has compile: true, but torch.compile failed on {pred.device} with {found!r}. It "
            "needs a C++ compiler (g++ or clang++, on the PATH or in the environment variable CXX), and Triton "
            "for a GPU. Fix: install what is missing, or set compile: false."
        ) from error
    return values


def compiles(loss: BoxRegressionLoss) -> bool:
    """Return whether ``compile: true`` compiles the loss.

    It must be faster, and a gradient must go only to the own pair, not to another one or to a parameter.
    """
    alone = not any(getattr(part, "batch_dependent", False) for part in loss.modules())
    return loss.compile_pays and alone and not any(True for _ in loss.parameters())


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


def _values_and_slopes(
    loss: BoxRegressionLoss, extras: Mapping[str, Tensor], pred: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    def total_and_values(pred: Tensor) -> tuple[Tensor, Tensor]:
        values = loss(pred, target, **extras)
        return values.sum(), values

    slopes, values = torch.func.grad(total_and_values, has_aux=True)(pred)
    return values, slopes


_COMPILED: WeakKeyDictionary[BoxRegressionLoss, Callable[..., Any]] = WeakKeyDictionary()


def _compile(loss: BoxRegressionLoss) -> Callable[..., Any]:
    _log.info("%s is compiled now (compile: true): the first time this takes 5 to 20 s", type(loss).__name__)
    # torch keeps the graphs with the code object, at most 8 of them: each loss gets a code object of its own.
    own = FunctionType(_values_and_slopes.__code__.replace(), globals(), _values_and_slopes.__name__)
    _COMPILED[loss] = torch.compile(own, dynamic=True, options=INDUCTOR_OPTIONS)
    return _COMPILED[loss]
