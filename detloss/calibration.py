"""Compare the gradient of each injected loss with the stock loss."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detloss.heads.losses import HeadLosses, Matches
from detloss.injection import injected

FAR_OFF = 5.0
"""A weight that you set is reported if it is this many times above or below the equalizing weight."""


@dataclass(frozen=True)
class Calibration:
    """Means of one loss of one head over some training batches.

    Batches without a match do not count.

    Attributes:
        head: Name of the head.
        loss: Name of the loss.
        value: The loss, normalized, before its weight.
        gradient: Norm of its gradient with respect to the head's output, before its weight.
        stock_value: The head's own loss in the same steps, before its gain.
        stock_gradient: Norm of the stock loss's gradient.
        weight: The weight in use.
        recommended: The loss's recommended weight for this head, if it has one.
        explicit: Whether you set the weight in use.
        batches: How many batches were measured.
    """

    head: str
    loss: str
    value: float
    gradient: float
    stock_value: float
    stock_gradient: float
    weight: float
    recommended: float | None
    explicit: bool
    batches: int

    @property
    def ratio(self) -> float:
        """This loss's gradient at weight 1 over the stock loss's.

        Infinite if the stock loss's is zero.
        """
        return self.gradient / self.stock_gradient if self.stock_gradient > 0 else math.inf

    @property
    def equalizing_weight(self) -> float:
        """The weight that makes both gradients equally long.

        Infinite if this loss's gradient is zero.
        """
        return self.stock_gradient / self.gradient if self.gradient > 0 else math.inf


def calibrate(model: nn.Module, batches: Iterable[Sequence[Any] | Mapping[str, Any]]) -> list[Calibration]:
    """Compare each injected loss of `model` with the stock loss.

    The batches run forward in training mode. Gradients run only from each loss to the head's output. No parameter
    changes; batch norm's running statistics and the state of losses do, as in any training step.

    Args:
        model: A detector with injected losses.
        batches: What the detector takes in training: a sequence of arguments (images and targets), or a mapping of
            named ones (``pixel_values`` and ``labels``).

    Returns:
        An entry for each loss, in the order of heads and losses; empty if no batch has a match.
    """
    with _in_mode(model, training=True), measuring(model) as seen:
        for batch in batches:
            model(**batch) if isinstance(batch, Mapping) else model(*batch)
    return [_mean(measured) for measured in seen.values()]


def far_weights(measured: Iterable[Calibration]) -> list[str]:
    """Describe each weight that you set more than `FAR_OFF` times off."""
    return [
        f"{one.head}: with weight {one.weight:g} the gradient of {one.loss} is {one.weight * one.ratio:.2g} times "
        f"that of the head's own loss; weight {one.equalizing_weight:.2g} would equalize them"
        + ("" if one.recommended is None else f", and {one.recommended:g} is recommended")
        + ". `detloss calibrate` measures it."
        for one in measured
        if one.explicit
        and min(one.weight, one.gradient, one.stock_gradient) > 0
        and abs(math.log(one.weight * one.ratio)) > math.log(FAR_OFF)
    ]


@contextmanager
def measuring(model: nn.Module) -> Iterator[dict[tuple[str, int], list[Calibration]]]:
    """Measure every training step of `model` while the context is open.

    Yields:
        A dict that fills up: (head, position of the loss in it) -> a `Calibration` for each step.
    """
    seen: dict[tuple[str, int], list[Calibration]] = {}
    hooks = []
    for head, losses in injected(model).items():

        def measure(module: HeadLosses, args: tuple[Matches], _output: Any, head: str = head) -> None:
            for index, one in enumerate(_measure(head, module, args[0])):
                seen.setdefault((head, index), []).append(one)

        hooks.append(losses.register_forward_hook(measure))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _measure(head: str, losses: HeadLosses, matches: Matches) -> list[Calibration]:
    if len(matches) == 0:
        return []
    with _in_mode(losses, training=False):  # this step has already changed the state of the losses
        parts = [part.sum() for part in losses.parts(matches)]
    stock_loss = matches.stock_loss()
    stock = _norm(stock_loss, matches.head_output)
    return [
        Calibration(
            head=head,
            loss=term.name,
            value=part.item(),
            gradient=_norm(part, matches.head_output),
            stock_value=stock_loss.item(),
            stock_gradient=stock,
            weight=term.weight,
            recommended=loss.recommended_weights.get(losses.head),
            explicit=term.explicit,
            batches=1,
        )
        for term, loss, part in zip(losses.terms, losses.each(), parts, strict=True)
    ]


@contextmanager
def _in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Set the mode of `module` in this context, then restore each part."""
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _norm(loss: Tensor, output: Tensor) -> float:
    (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
    return float(gradient.float().norm())


def _mean(measured: list[Calibration]) -> Calibration:
    def mean(name: str) -> float:
        return float(sum(getattr(one, name) for one in measured) / len(measured))

    first = measured[0]
    return Calibration(
        head=first.head,
        loss=first.loss,
        value=mean("value"),
        gradient=mean("gradient"),
        stock_value=mean("stock_value"),
        stock_gradient=mean("stock_gradient"),
        weight=first.weight,
        recommended=first.recommended,
        explicit=first.explicit,
        batches=len(measured),
    )
