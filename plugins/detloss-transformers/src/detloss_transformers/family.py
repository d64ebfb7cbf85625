"""What the heads of all families share."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from detloss.heads.base import Example, HeadAdapter, Matches, Recorded
from detloss_transformers import small_models
from detloss_transformers.criterion import Layer, with_losses


class FamilyAdapter(HeadAdapter):
    """Base of the heads of a family.

    A head replaces one term of the box loss.

    The model asks its property `loss_function` for the function that makes a criterion in each step. In front of it,
    the function makes a criterion that leaves the replaced terms to the head. A model with labels computes losses in
    eval mode too.
    """

    criterion: ClassVar[str]
    """Name of the criterion's class, in the module of the family's loss function."""
    entry: ClassVar[str] = "loss_giou"
    """The term: ``loss_giou`` or ``loss_bbox``. Auxiliary layers have their number behind it."""
    small: ClassVar[Callable[[], Any]]
    """Makes a small model of the family."""
    inner: ClassVar[str] = "model"
    """The attribute that the images go to; a `Recorded` of this name remembers them."""
    supplies = frozenset({"image_size"})

    model = Recorded()

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_models.example(cls.small, cls.entry)

    @classmethod
    def patches(cls, module: nn.Module) -> list[str]:
        """Describe a loss function that is not transformers' own."""
        function = _stock_function(module)
        library = Path(transformers.__file__).parent
        own = isinstance(function, FunctionType) and Path(inspect.getfile(function)).is_relative_to(library)
        found = [] if own else [f"its loss_function is {function!r}, not transformers' own. Fix: restore that"]
        return [*super().patches(module), *found]

    @property
    def computes_losses(self) -> bool:
        """Whether a call now may compute losses: always, if it has labels."""
        return True

    @property
    def loss_function(self) -> Callable[..., Any]:
        """The model's own loss function, with the losses of the head."""
        slots = {front.entry: front.slot for front in reversed(self.fronts()) if issubclass(front, FamilyAdapter)}

        def compute(layers: Sequence[Layer], stock: Any) -> Mapping[str, Tensor]:
            return {entry: self.box_loss(self._matches(layers, stock, entry), slot) for entry, slot in slots.items()}

        return with_losses(_stock_function(self), self.criterion, frozenset(slots), compute)

    @loss_function.setter
    def loss_function(self, function: Callable[..., Any]) -> None:
        PreTrainedModel.loss_function.fset(self, function)

    def _matches(
        self, layers: Sequence[Layer], stock: Callable[[Layer, Tensor], Mapping[str, Tensor]], entry: str
    ) -> Matches:
        height, width = self._image_size()
        flat = [layer.boxes.flatten(0, 1) for layer in layers]
        output, truth = torch.cat(flat), torch.cat([layer.truth for layer in layers])
        counts, starts = [len(layer.truth) for layer in layers], [0]
        for each in flat[:-1]:
            starts.append(starts[-1] + len(each))
        matched = torch.cat([start + layer.matched for start, layer in zip(starts, layers, strict=True)])

        def decode(boxes: Tensor) -> Tensor:
            center, half = boxes[:, :2], boxes[:, 2:] / 2
            return torch.cat([center - half, center + half], dim=1) * boxes.new_tensor((width, height, width, height))

        def stock_loss() -> Tensor:
            parts = torch.split(output, [len(each) for each in flat])
            boxes = [part.view_as(layer.boxes) for part, layer in zip(parts, layers, strict=True)]
            return torch.stack([stock(*each)[entry] for each in zip(layers, boxes, strict=True)]).sum()

        return Matches(
            pred_deltas=output[matched],
            target_boxes=decode(truth),
            decode=decode,
            target_deltas=lambda: truth,
            image_size=lambda: truth.new_tensor((height, width)).expand(len(truth), 2),
            stock_divisor=torch.cat(
                [truth.new_full((count,), layer.num_boxes) for count, layer in zip(counts, layers, strict=True)]
            ),
            stock_loss=stock_loss,
            head_output=output,
            entries=counts,
        )

    def _image_size(self) -> tuple[int, int]:
        (pixel_values, *_), _ = self.require(self.inner)[self.inner]
        height, width = pixel_values.shape[-2:]
        return height, width


class L1Slot:
    """The other term, in a slot of its own."""

    entry = "loss_bbox"
    slot = "detloss_l1"


def _stock_function(module: Any) -> Any:
    return PreTrainedModel.loss_function.fget(module)
