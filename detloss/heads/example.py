"""A small model with a head, for the checks of its adapter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Example:
    """A small model with a head: what `detloss check --head` runs.

    Its numbers should be well conditioned: use float64 if the gradients of random weights are large.
    """

    build: Callable[[], nn.Module]
    """Makes a model with random weights, the same ones after the same `torch.manual_seed`. It needs no network."""
    step: Callable[[nn.Module, bool], tuple[Mapping[str, Tensor], Tensor]]
    """Runs a training step, ``step(model, objects)``: returns its losses by name, and the sum that goes backward.

    The images are always the same. Without `objects` none of them has one.
    """
    replaced: str
    """The name of the replaced loss; names that begin with it and ``_`` are other entries of it."""
    stock: str | Mapping[str, object]
    """The loss that equals the head's own: a name, or a spec without weight."""

    def is_replaced(self, name: str) -> bool:
        """Whether the entry `name` of the losses is the replaced one."""
        return name == self.replaced or name.startswith(f"{self.replaced}_")
