"""What the one-stage detectors share: RetinaNet, FCOS and SSD match anchors themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detloss.heads.base import HeadAdapter, image_sizes
from detloss.heads.losses import Matches

__all__ = ["DenseAdapter"]


class DenseAdapter(HeadAdapter):
    """Base of the adapters that take the place of a whole one-stage detector's class."""

    transform: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the detector as it is, noting the sizes of its images after they are resized."""
        if not self.training:
            return super().forward(*args, **kwargs)
        with self.recording() as seen, self.watching(self.transform) as transformed:
            seen["transformed"] = transformed
            return super().forward(*args, **kwargs)

    def matches(
        self,
        *,
        regression: Tensor,
        targets: list[dict[str, Tensor]],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
        encode: Callable[[Tensor, Tensor], Tensor],
        decode: Callable[[Tensor, Tensor], Tensor],
        per_image: bool,
        stock_loss: Tensor,
    ) -> Matches:
        """Return the positive anchors of a batch of B images with A anchors each.

        Args:
            regression: ``(B, A, 4)`` what the head predicts.
            targets: A dict with ``boxes`` for each image.
            anchors: ``(A, 4)`` for each image.
            matched_idxs: ``(A,)`` for each image: the index of the matched box, negative where there is none.
            encode: ``(boxes, anchors) -> deltas``.
            decode: ``(deltas, anchors) -> boxes``.
            per_image: Whether the head divides by the positives of each image and then by the images, or by all
                positives of the batch.
            stock_loss: The head's own box loss.
        """
        matched = torch.stack(matched_idxs)
        image, anchor = torch.where(matched >= 0)
        boxes = torch.cat([target["boxes"] for target in targets])
        counts = [len(target["boxes"]) for target in targets]
        first = torch.tensor([sum(counts[:index]) for index in range(len(counts))], device=matched.device)
        target_boxes = boxes[first[image] + matched[image, anchor]]
        matched_anchors = torch.stack(anchors)[image, anchor]
        positives = (matched >= 0).sum(dim=1).clamp(min=1)
        return Matches(
            pred_deltas=regression[image, anchor],
            target_boxes=target_boxes,
            anchors=matched_anchors,
            decode=decode,
            target_deltas=lambda: encode(target_boxes, matched_anchors),
            image_size=lambda: image_sizes(self.require("transformed")["transformed"][-1][0].image_sizes, image),
            stock_divisor=positives[image] * len(targets) if per_image else float(max(1, len(image))),
            stock_loss=stock_loss,
            head_output=regression,
        )
