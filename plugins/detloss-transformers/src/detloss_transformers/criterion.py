"""A criterion of transformers that leaves its box losses to the head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from detloss.errors import InjectionError

Indices = Sequence[tuple[Tensor, Tensor]]
"""For each image: the matched queries, and the box of each."""


@dataclass(frozen=True)
class Layer:
    """The matches of one decoder layer, of the encoder, or of denoising.

    Attributes:
        boxes: ``(images, queries, 4)`` predictions.
        targets: Of each image.
        indices: Which query was matched with which box.
        num_boxes: What the criterion divides by.
    """

    boxes: Tensor
    targets: Sequence[Mapping[str, Tensor]]
    indices: Indices
    num_boxes: float

    @property
    def matched(self) -> Tensor:
        """The matched rows of the flattened predictions."""
        queries = self.boxes.shape[1]
        rows = [image * queries + source.to(self.boxes.device) for image, (source, _) in enumerate(self.indices)]
        return torch.cat(rows)

    @property
    def truth(self) -> Tensor:
        """``(N, 4)`` the box of each matched query."""
        return torch.cat([target["boxes"][of] for target, (_, of) in zip(self.targets, self.indices, strict=True)])


Compute = Callable[[Sequence[Layer], Callable[[Layer, Tensor], Mapping[str, Tensor]]], Mapping[str, Tensor]]
"""From the layers of a step and the stock losses of a layer with given boxes: entry -> ``(layers,)`` losses."""


def with_losses(stock: FunctionType, criterion: str, entries: frozenset[str], compute: Compute) -> Callable[..., Any]:
    """Return the loss function `stock` with other box losses.

    It makes its criterion in each call, by a name of its module. The returned function is the same code, where this
    name makes a criterion that collects the matches of all layers; no module changes.

    Args:
        stock: The model's own loss function.
        criterion: The name of the criterion's class.
        entries: Which losses to replace: of ``loss_giou`` and ``loss_bbox``.
        compute: Computes them.

    Raises:
        InjectionError: The function makes no such criterion.
    """
    cls = stock.__globals__.get(criterion)
    if cls is None or criterion not in stock.__code__.co_names:
        raise InjectionError(
            f"the loss function {stock.__module__}.{stock.__qualname__} makes no {criterion}, so its box loss cannot "
            "be replaced. Fix: restore the model's own loss_function, or eject the losses."
        )
    namespace = {**stock.__globals__, criterion: partial(_made, cls, entries, compute)}
    function = FunctionType(stock.__code__, namespace, stock.__name__, stock.__defaults__, stock.__closure__)
    function.__kwdefaults__ = stock.__kwdefaults__
    return function


def _made(cls: Any, entries: frozenset[str], compute: Compute, *args: Any, **kwargs: Any) -> Any:
    criterion = _collecting(cls)(*args, **kwargs)
    # Past nn.Module: the criterion must not move or train the head.
    vars(criterion).update(entries=entries, compute=compute, layers=[])
    return criterion


@cache
def _collecting(cls: Any) -> type[Any]:
    return type(cls.__name__, (_Collecting, cls), {"__module__": cls.__module__})


class _Collecting:
    """Stands before a criterion's class."""

    entries: frozenset[str]
    compute: Compute
    layers: list[Layer]

    def loss_boxes(
        self, outputs: Mapping[str, Tensor], targets: Any, indices: Indices, num_boxes: float
    ) -> dict[str, Tensor]:
        """Remember the matches of a layer.

        A replaced loss is 1 until all layers are known.
        """
        layer = Layer(outputs["pred_boxes"], targets, indices, num_boxes)
        self.layers.append(layer)
        one = torch.ones((), device=layer.boxes.device)
        if self.entries == {"loss_giou"}:  # the criterion would build a matrix of all pairs for it
            boxes = layer.boxes.flatten(0, 1)[layer.matched]
            l1 = functional.l1_loss(boxes, layer.truth, reduction="none").sum() / num_boxes
            return {"loss_bbox": l1, "loss_giou": one}
        if self.entries == {"loss_bbox", "loss_giou"}:
            return dict.fromkeys(("loss_bbox", "loss_giou"), one)
        return {**self._stock(layer, layer.boxes), **dict.fromkeys(self.entries, one)}

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Return the losses of the step.

        A replaced loss is multiplied with the gain that its 1 came back with.
        """
        losses: dict[str, Tensor] = super().forward(outputs, targets)  # type: ignore[misc]  # the criterion's own
        for entry, values in self.compute(self.layers, self._stock).items():
            names = [name for name in losses if name == entry or name.startswith(f"{entry}_")]
            if len(names) != len(self.layers):
                raise InjectionError(
                    f"{type(self).__name__} matched boxes of {len(self.layers)} layers, but returned {len(names)} "
                    f"losses {entry}. Fix: write an adapter for this model."
                )
            for name, value in zip(names, values, strict=True):
                losses[name] = losses[name] * value
        return losses

    def _stock(self, layer: Layer, boxes: Tensor) -> Mapping[str, Tensor]:
        stock: Mapping[str, Tensor] = super().loss_boxes(  # type: ignore[misc]  # the criterion's own
            {"pred_boxes": boxes}, layer.targets, layer.indices, layer.num_boxes
        )
        return stock
