"""Gathers what a loader gave in all processes, and evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detloss.errors import DataError
from detloss.text import clipped
from detloss.training.evaluation import Detections, coco_from_targets, evaluate_boxes


@dataclass
class Collected:
    """Detections, targets and losses of the images of one loader.

    Attributes:
        detections: By image id.
        targets: The parts of each target that evaluation needs, by image id.
        losses: Sums over the images; the key "" has their number.
        numbered: Whether the targets have no ids, so that images are numbered in order.
    """

    detections: dict[int, Detections] = field(default_factory=dict)
    targets: dict[int, dict[str, Any]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    numbered: bool = False

    def add(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Tensor]],
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """Add a batch of this process.

        Raises:
            DataError: Two images have one id.
        """
        for image, target, output in zip(images, targets, outputs, strict=True):
            number = _image_id(target)
            if number is None:
                self.numbered = True
                number = len(self.targets) * processes + rank
            kept: dict[str, Any] = {key: _array(target[key]) for key in _KEPT if target.get(key) is not None}
            # By its content: a data set may make each image again. A part of the pixels tells two images apart.
            kept |= {"image_id": number, "shows": (*image.shape, float(image[..., ::8, ::8].float().mean()))}
            before = self.targets.setdefault(number, kept)
            if before["shows"] != kept["shows"] or not np.array_equal(before["boxes"], kept["boxes"]):
                raise DataError(
                    f"Two different images of the validation data have the image_id {number}. Fix: give each image its "
                    "own id, or give no ids."
                )
            self.detections[number] = Detections.from_output(number, output)

    def gathered(self, rank: int, processes: int) -> Collected:
        """Join the results of all processes in the first one.

        The others keep their own. An image that two of them saw counts once, except for its losses.
        """
        parts = [self] * processes
        if processes > 1:
            torch.distributed.gather_object(self, None if rank else parts)
        if rank:
            return self
        detections = {number: found for part in reversed(parts) for number, found in part.detections.items()}
        return Collected(
            {number: detections[number] for number in sorted(detections)},
            {number: target for part in reversed(parts) for number, target in part.targets.items()},
            {name: sum(part.losses.get(name, 0.0) for part in parts) for part in parts for name in part.losses},
            any(part.numbered for part in parts),
        )

    def metrics(self, dataset: Any) -> dict[str, float]:
        """Return COCO's numbers and the mean losses.

        If the data set's attribute ``coco`` is a COCO dictionary or pycocotools object with these images, it is the
        ground truth; else the targets are.
        """
        truth = getattr(dataset, "coco", None)
        truth = getattr(truth, "dataset", truth)
        if self.numbered or not truth or self.detections.keys() - {image["id"] for image in truth["images"]}:
            truth = coco_from_targets(list(self.targets.values()))
        means = {name: value / self.losses[""] for name, value in self.losses.items() if name}
        return {**evaluate_boxes(truth, self.detections.values()), **means}


_KEPT = ("boxes", "labels", "area", "iscrowd")


def _array(value: Any) -> npt.NDArray[Any]:
    """Return numbers of a target; pickled, a tensor has 400 bytes more."""
    tensor = torch.as_tensor(value)
    # numpy has no bfloat16.
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy(force=True)


def _image_id(target: Mapping[str, Any]) -> int | None:
    """Return the number of a target's image, or None."""
    given = target.get("image_id")
    if given is None:
        return None
    number = given.item() if isinstance(given, Tensor) and given.numel() == 1 else given
    try:
        if int(number) == number:
            return int(number)
    except (TypeError, ValueError):
        pass
    raise DataError(f"The image_id {clipped(repr(given))} of a target is not a whole number. Fix: give one, or none.")
