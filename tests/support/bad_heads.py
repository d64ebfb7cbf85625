"""A small detector with a gain on its box loss, a sound head for it, and heads that each break one promise."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detloss.heads.base import Example, HeadAdapter, Matches

STRIDE = 16
GAIN = 5.0
BOXES = torch.tensor([[0.0, 0, 32, 16], [40, 40, 56, 56], [8, 20, 30, 44]])


class GridNet(nn.Module):
    """One box in each 16 px cell: how far its sides are from the cell's, in cells."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = nn.Conv2d(3, 5, STRIDE, stride=STRIDE)

    def forward(self, images: Tensor, boxes: list[Tensor]) -> dict[str, Tensor]:
        output = self.predict(images)
        truth, cells, index = self.match(boxes)
        error = output.permute(0, 2, 3, 1)[index][:, :4] - (truth - cells) / STRIDE
        return {"box": GAIN * error.abs().sum() / max(1, len(truth)), "score": output[:, 4].square().mean()}

    def match(self, boxes: list[Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        truth = torch.cat(boxes)
        image = torch.cat([torch.full((len(each),), i) for i, each in enumerate(boxes)])
        column, row = ((truth[:, :2] + truth[:, 2:]) / 2 / STRIDE).long().unbind(1)
        return truth, torch.stack([column, row, column + 1, row + 1], dim=1) * STRIDE, (image, row, column)


def step(model: nn.Module, objects: bool) -> tuple[dict[str, Tensor], Tensor]:
    boxes = [BOXES[:2], BOXES[2:]] if objects else [BOXES[:0], BOXES[:0]]
    losses = model(torch.rand(2, 3, 64, 64), boxes)
    return losses, torch.stack([*losses.values()]).sum()


class Sound(HeadAdapter):
    """`sound`: replaces ``box`` of ``GridNet``."""

    head_name = "sound"
    adapts = GridNet
    supplies = frozenset({"image_size"})

    @classmethod
    def example(cls) -> Example:
        return Example(GridNet, step, "box", "l1")

    def match(self, boxes: list[Tensor]) -> Any:
        self.record["match"] = super().match(boxes)
        return self.record["match"]

    def forward(self, images: Tensor, boxes: list[Tensor]) -> dict[str, Tensor]:
        with self.recording(), self.watching(self.predict) as outputs:
            losses = super().forward(images, boxes)
            truth, cells, index = self.require("match")["match"]
        stock = losses["box"] / GAIN
        matches = Matches(
            pred_deltas=outputs[0].permute(0, 2, 3, 1)[index][:, :4],
            target_boxes=truth,
            decode=lambda deltas: cells + STRIDE * deltas,
            target_deltas=lambda: (truth - cells) / STRIDE,
            image_size=lambda: truth.new_tensor(images.shape[2:]).expand(len(truth), 2),
            stock_divisor=float(max(1, len(truth))),
            stock_loss=lambda: stock,
            head_output=outputs[0],
        )
        return self.replaced(losses, matches)

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        losses["box"] = GAIN * self.box_loss(matches)
        return losses


class Changed(Sound):
    """Base of the bad ones: a change of the matches."""

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        return super().replaced(losses, self.changed(matches))

    def changed(self, matches: Matches) -> Matches:
        return matches


class Detached(Changed):
    """`detached`: its predictions have no gradient."""

    head_name = "detached"

    def changed(self, matches: Matches) -> Matches:
        return replace(matches, pred_deltas=matches.pred_deltas.detach() + 0 * matches.head_output.sum())


class Normalized(Changed):
    """`normalized`: its boxes are shares of the image."""

    head_name = "normalized"

    def changed(self, matches: Matches) -> Matches:
        return replace(matches, target_boxes=matches.target_boxes / 64)


class WrongDivisor(Changed):
    """`wrong_divisor`: it divides by more than the head does."""

    head_name = "wrong_divisor"

    def changed(self, matches: Matches) -> Matches:
        return replace(matches, stock_divisor=7.0)


class WithoutSize(Changed):
    """`without_size`: it has none of the image sizes that it supplies."""

    head_name = "without_size"

    def changed(self, matches: Matches) -> Matches:
        return replace(matches, image_size=None)


class WithoutGain(Sound):
    """`without_gain`: it forgets the head's own gain."""

    head_name = "without_gain"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        return losses | {"box": self.box_loss(matches)}


class OtherLoss(Sound):
    """`other_loss`: it changes another loss too."""

    head_name = "other_loss"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        found = super().replaced(losses, matches)
        return found | {"score": found["score"] * (1 + 0 * found["box"]) + 0.001}


class PerImage(Sound):
    """`per_image`: it calls the losses once for each image."""

    head_name = "per_image"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        self.box_loss(matches)
        return super().replaced(losses, matches)


class SkipsEmpty(Sound):
    """`skips_empty`: it calls no loss in a step without objects."""

    head_name = "skips_empty"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        return super().replaced(losses, matches) if len(matches) else losses


class Locked(Sound):
    """`locked`: it keeps a lock, which cannot be copied."""

    head_name = "locked"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        self.lock = threading.Lock()
        return super().replaced(losses, matches)


class LeavesTraces(Sound):
    """`leaves_traces`: it leaves an attribute behind."""

    head_name = "leaves_traces"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        self.count = 1
        return super().replaced(losses, matches)


class PatchesTheClass(Sound):
    """`patches_the_class`: it changes the class of all models."""

    head_name = "patches_the_class"

    def replaced(self, losses: dict[str, Tensor], matches: Matches) -> dict[str, Tensor]:
        found = super().replaced(losses, matches)
        box = found["box"].detach()

        def patched(self: Any, images: Tensor, boxes: list[Tensor]) -> dict[str, Tensor]:
            return ORIGINAL(self, images, boxes) | {"box": box}

        GridNet.forward = patched  # type: ignore[method-assign]
        return found


class Renamed(Sound):
    """`renamed`: it moves a parameter."""

    head_name = "renamed"

    @property
    def state_dict(self) -> Any:
        return lambda *args, **named: {f"moved.{key}": value for key, value in self.predict.state_dict().items()}


class WithoutExample(Sound):
    """`without_example`: it cannot be checked."""

    head_name = "without_example"
    example = classmethod(HeadAdapter.example.__func__)


ORIGINAL = GridNet.forward
BROKEN = {
    Detached: "stock_at_the_boxes",
    Normalized: "pairs",
    WrongDivisor: "stock_at_the_boxes",
    WithoutSize: "extras",
    WithoutGain: "stock_in_the_model",
    OtherLoss: "one_entry",
    PerImage: "one_call",
    SkipsEmpty: "one_call",
    Locked: "copies",
    LeavesTraces: "ejected",
    PatchesTheClass: "two_models",
    Renamed: "class_and_keys",
}
"""Each bad head, and the check that must find it."""
