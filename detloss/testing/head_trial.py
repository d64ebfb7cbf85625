"""One run of one check of a head."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detloss.heads.base import Example, HeadAdapter, HeadLosses, Matches
from detloss.injection import inject, injected
from detloss.registry import HEAD_GROUP, get_plugin
from detloss.testing.expecting import Comparing

TINY = 1e-6
"""A gradient is compared relative to its own norm, and to this share of the norm of all."""


@dataclass(frozen=True)
class HeadSubject:
    """The adapter that is checked.

    Attributes:
        who: Its name in messages: that of the head.
        cls: The adapter.
        example: Its small model.
    """

    who: str
    cls: type[HeadAdapter]
    example: Example


def head_subject_of(head: str) -> HeadSubject:
    """Find the head to check.

    Raises:
        PluginError: The name is unknown, claimed twice, or its adapter cannot be loaded.
        ConformanceError: The adapter gives no example.
    """
    adapter: Any = get_plugin(head, group=HEAD_GROUP).cls
    return HeadSubject(head, adapter, adapter.example())


@dataclass(frozen=True)
class Step:
    """What one training step gave, without graph.

    Attributes:
        losses: By name.
        gradients: Of the sum, by parameter.
    """

    losses: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]


class HeadTrial(Comparing):
    """The tools of a check of a head.

    Attributes:
        subject: The adapter that is checked, with its example.
    """

    def __init__(self, subject: HeadSubject) -> None:
        super().__init__()
        self.subject = subject
        self.example = subject.example

    def model(self) -> nn.Module:
        """Return the example's model, in training mode; always the same."""
        torch.manual_seed(0)
        return self.example.build().train()

    def with_stock(self, weight: float = 1.0) -> nn.Module:
        """Return the model with the loss that equals the head's own."""
        stock = self.example.stock
        spec = {"name": stock} if isinstance(stock, str) else dict(stock)
        return self.put_in(self.model(), {**spec, "weight": weight})

    def put_in(self, model: nn.Module, loss: Any) -> nn.Module:
        """Inject a loss into the head."""
        return inject(model, {self.subject.who: loss})

    def losses_in(self, model: nn.Module) -> HeadLosses:
        """Return the losses of the head."""
        return next(iter(injected(model).values()))

    def run(self, model: nn.Module, *, objects: bool = True) -> tuple[Mapping[str, Tensor], Tensor]:
        """Run a training step, always with the same random numbers."""
        torch.manual_seed(1)
        return self.example.step(model, objects)

    def step(self, model: nn.Module, *, objects: bool = True) -> Step:
        """Run a step and its backward pass."""
        losses, total = self.run(model, objects=objects)
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        return Step(
            {name: value.detach().clone() for name, value in losses.items()},
            {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None},
        )

    def matches(self, model: nn.Module) -> Matches:
        """Run a step and return the adapter's matches."""
        seen: list[Matches] = []

        def remember(_module: nn.Module, args: tuple[Matches]) -> None:
            (matches,) = args
            if matches.image_size is not None:  # it may read the record of the step
                matches = replace(matches, image_size=partial(_itself, matches.image_size()))
            seen.append(matches)

        hook = self.losses_in(model).register_forward_pre_hook(remember)
        try:
            self.run(model)
        finally:
            hook.remove()
        self.expect(
            len(seen) == 1 and len(seen[0]) > 0,
            "one call of box_loss with pairs in a step",
            f"{len(seen)} calls with {[len(each) for each in seen]} pairs",
            "Fix: collect the pairs of all layers, and call box_loss once. The example's images need matched objects.",
        )
        return seen[0]

    def expect_equal_steps(self, found: Step, wanted: Step, tolerance: float, advice: str) -> None:
        """Compare the losses and all gradients of two steps."""
        self.expect(
            found.losses.keys() == wanted.losses.keys(), f"the losses {[*wanted.losses]}", [*found.losses], advice
        )
        for name, value in wanted.losses.items():
            self.expect_near(found.losses[name], value, tolerance, f"the loss {name} of the stock model", advice)
        self.expect(
            found.gradients.keys() == wanted.gradients.keys(),
            f"gradients of {len(wanted.gradients)} parameters",
            f"{len(found.gradients)}",
            advice,
        )
        whole = _norm(list(wanted.gradients.values()))
        for name, gradient in wanted.gradients.items():
            expected = f"the gradient of {name} of the stock model"
            self.expect_near(found.gradients[name], gradient, tolerance, expected, advice, floor=TINY * whole)

    def expect_near(
        self, found: Tensor, wanted: Tensor, tolerance: float, expected: str, advice: str, *, floor: float = TINY
    ) -> None:
        """Compare two tensors by the norm of their difference."""
        difference, size = _norm([found.double() - wanted.double()]), max(_norm([wanted]), floor)
        self.expect(
            difference <= tolerance * size,
            f"{expected} (within {tolerance:g} of its norm {size:.3g})",
            f"a difference of {difference:.3g}",
            advice,
        )


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([tensor.detach().double().norm() for tensor in tensors]).norm()) if tensors else 0.0
