"""Explains what made a training step NaN or infinite.

The cause can be images, losses, pairs in a head or gradients.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from detloss.errors import DetlossError
from detloss.heads.losses import Pairs
from detloss.registry import REGISTERED, get_plugin

_MOST_ROWS = 8
"""Pairs of a loss that are shown; the rest are counted."""


@dataclass(eq=False)
class Batch:
    """What is kept of a batch until it proves sound.

    These are small tensors on the device, never the images.
    """

    index: int
    image_ids: list[Any]
    images: Tensor
    """Greatest absolute pixel of each image."""
    boxes: Tensor
    """Greatest absolute coordinate of each image's boxes."""
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    """The batch's loss, as used for backward."""
    parts: dict[str, Tensor] = field(default_factory=dict)
    """The terms of the loss."""
    pairs: list[Pairs] = field(default_factory=list)
    """The inputs of each injected loss."""

    @classmethod
    def of(cls, batch: tuple[Sequence[Tensor], Sequence[Mapping[str, Tensor]]], index: int) -> Batch:
        """Check a batch of images and targets."""
        images, targets = batch
        return cls(
            index,
            [target.get("image_id") for target in targets],
            _greatest(images),
            _greatest([target["boxes"] for target in targets]),
        )


@dataclass(eq=False)
class Step:
    """An optimizer step of one or several accumulated batches."""

    number: int
    """Counted from 1, as in metrics.jsonl."""
    epoch: str
    batches: list[Batch] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)
    norms: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Greatest absolute value of the gradient of each of `parameters`."""

    def look_at_gradients(self, optimizer: Optimizer) -> None:
        """Take the greatest value of each gradient.

        A norm adds squares and could overflow although no gradient does.
        """
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        self.parameters = [one for one in parameters if one.grad is not None]
        self.norms = _greatest([one.grad for one in self.parameters if one.grad is not None])

    def __str__(self) -> str:
        return f"Step {self.number} (epoch {self.epoch}) became NaN or infinite."


def explain(step: Step, model: nn.Module, processes: int = 1) -> str:
    """Find what is not finite in a step, from input to gradient.

    Its losses are computed again.

    Every process must call this function, and gets the findings of all.
    """
    findings: list[str] = []
    for batch in step.batches:
        found = list(_batch_findings(batch, alone=processes == 1))
        findings += found if len(step.batches) == 1 else _under(f"batch {batch.index + 1}:", found)
    if processes > 1:
        gathered: list[list[str]] = [[]] * processes
        torch.distributed.all_gather_object(gathered, findings)
        findings = [line for rank, lines in enumerate(gathered) for line in _under(f"process {rank}:", lines)]
    return "\n".join(_under(str(step), findings + _gradient_findings(step, model)) or [str(step)])


def _under(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []


def _batch_findings(batch: Batch, alone: bool) -> Iterator[str]:
    for what, greatest in (("pixels", batch.images), ("boxes", batch.boxes)):
        for position in _not_finite(greatest):
            identity = batch.image_ids[position]
            name = "" if identity is None else f" (image_id {int(identity)})"
            yield f"image {position + 1} of the batch{name} has {what} that are NaN or infinite"
    for name, value in batch.parts.items():
        if not math.isfinite(value):
            yield f"{name} is {float(value)}"
    for pairs in batch.pairs:
        yield from _pair_findings(pairs, alone)


def _pair_findings(pairs: Pairs, alone: bool) -> Iterator[str]:
    """Compute one loss again and show its non-finite pairs."""
    who = f"{pairs.head}: {_full_name(pairs)}"
    # In eval mode a loss keeps its state, and a bad pair does not spread over a batch-dependent loss. But the fault may
    # occur only in training. (There the processes may wait for each other: none runs alone.)
    for training in (False, True) if alone else (False,):
        try:
            values, gradient = _again(pairs, training)
        except Exception as error:  # noqa: BLE001 - the loss is foreign code, and the report must continue
            yield f"{who} raised {type(error).__name__} when it was computed again: {error}"
            return
        rows = torch.where(~(values.isfinite() & gradient.isfinite().all(dim=1)))[0].tolist()
        if rows:
            break
    else:
        if not math.isfinite(pairs.part):
            yield (
                f"{who} gave {float(pairs.part)} for {len(values)} pairs, but is finite for each of them when "
                "computed again: their sum overflows, or it depends on more than the pairs (random numbers, or "
                "something that happens only in training)"
            )
        return
    unit = "x1, y1, x2, y2 in pixels" if pairs.loss.space == "boxes" else "encoded deltas"
    yield f"{who}: {len(rows)} of {len(values)} pairs give a value or a gradient that is not finite ({unit}):"
    for row in rows[:_MOST_ROWS]:
        yield (
            f"  row {row}: pred {_numbers(pairs.pred[row])}, target {_numbers(pairs.target[row])}, "
            f"value {float(values[row]):g}, gradient {_numbers(gradient[row])}"
        )
    if len(rows) > _MOST_ROWS:
        yield f"  and {len(rows) - _MOST_ROWS} more"
    if from_network := sum(not pairs.pred[row].isfinite().all() for row in rows):
        yield f"  in {from_network} of them the prediction itself is not finite: the fault is before the loss"


def _again(pairs: Pairs, training: bool) -> tuple[Tensor, Tensor]:
    """Values and gradients of a loss by pair, without side effects."""
    loss = copy.deepcopy(pairs.loss).train(training)
    loss.load_state_dict({**loss.state_dict(), **pairs.state})
    pred = pairs.pred.clone().requires_grad_()
    devices = [pred.device] if pred.is_cuda else []
    with torch.random.fork_rng(devices), torch.enable_grad(), torch.autocast(pred.device.type, enabled=False):
        values = loss(pred, pairs.target, **pairs.extras)
        (gradient,) = torch.autograd.grad(values.sum(), pred, materialize_grads=True)
    return values.detach(), gradient


def _gradient_findings(step: Step, model: nn.Module) -> list[str]:
    bad = {id(step.parameters[position]) for position in _not_finite(step.norms)}
    if not bad:
        return []
    names = [name for name, parameter in model.named_parameters() if id(parameter) in bad]
    return [f"the gradient of {len(bad)} of {len(step.parameters)} parameters is not finite, {_few(names)}"]


def _full_name(pairs: Pairs) -> str:
    """Name of a loss and of the package that it comes from."""
    cls = type(pairs.loss)
    try:
        found = get_plugin(pairs.term.name)
    except DetlossError:  # a loss given as an instance may have no plugin name
        found = None
    if found is None or found.cls is not cls:
        return f"the loss {cls.__name__} of the module {cls.__module__}"
    if found.plugin.package == REGISTERED:
        return f"the loss {found.plugin.name!r} ({cls.__name__} of the module {cls.__module__}, registered there)"
    return f"the loss {found.plugin.name!r} of the package {found.plugin.package} {found.plugin.version}"


def _greatest(tensors: Sequence[Tensor]) -> Tensor:
    """The greatest absolute value of each tensor.

    NaN if it holds one, 0 if it is empty or of integers.
    """
    found = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not found:
        return torch.zeros(len(tensors))
    if all(tensor.is_cpu for tensor in found):
        # Here torch's infinity norm takes ten times as long.
        norms = iter([torch.maximum(high, -low) for low, high in (tensor.aminmax() for tensor in found)])
    else:
        norms = iter(torch._foreach_norm(found, math.inf))
    zero = found[0].new_zeros(())
    return torch.stack([next(norms) if tensor.is_floating_point() and tensor.numel() else zero for tensor in tensors])


def _not_finite(values: Tensor) -> list[int]:
    positions: list[int] = torch.where(~values.isfinite())[0].tolist()
    return positions


def _numbers(values: Tensor) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values.tolist()) + ")"


def _few(names: Sequence[str]) -> str:
    return f"first {names[0]}" + (f", last {names[-1]}" if len(names) > 1 else "")
