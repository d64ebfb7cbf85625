"""The box head of Faster, Mask and Keypoint R-CNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import roi_heads
from torchvision.models.detection.roi_heads import RoIHeads

from detloss.errors import InjectionError
from detloss.heads.base import HeadAdapter, Matches

__all__ = ["RoIHeadsAdapter"]


class RoIHeadsAdapter(HeadAdapter):
    """`roi_heads`: replaces ``loss_box_reg`` of torchvision's ``RoIHeads`` or a subclass of it.

    Pairs are the positive sampled proposals, with the regression of their matched class (or the only one, where the
    predictor is class-agnostic). The stock loss is smooth L1 with beta 1/9 on deltas, divided by all sampled
    proposals, positive or not.
    """

    head = "roi_heads"
    adapts = RoIHeads

    box_predictor: nn.Module
    box_coder: Any

    @classmethod
    def patches(cls, module: nn.Module) -> list[str]:
        """Find the two common ways to patch ``fastrcnn_loss``."""
        found = super().patches(module)
        if "fastrcnn_loss" in vars(module):
            found.append(
                "the instance has an attribute 'fastrcnn_loss', which torchvision never reads (it calls a function of "
                "its module): that loss never ran. Delete the attribute"
            )
        stock = roi_heads.fastrcnn_loss
        if getattr(getattr(stock, "__code__", None), "co_filename", None) != roi_heads.__file__:
            found.append(
                f"torchvision.models.detection.roi_heads.fastrcnn_loss is {stock!r}, not torchvision's own: it is "
                "replaced for every model in this process. Put torchvision's function back"
            )
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head as it is; in training, replace its box loss."""
        if not self.training:
            return super().forward(*args, **kwargs)
        with self.recording() as seen, self.watching(self.box_predictor) as predictions:
            result, losses = super().forward(*args, **kwargs)
        image_shapes = args[2] if len(args) > 2 else kwargs["image_shapes"]
        losses["loss_box_reg"] = self.box_loss(self._matches(seen, predictions, losses, image_shapes))
        return result, losses

    def select_training_samples(self, proposals: list[Tensor], targets: list[dict[str, Tensor]]) -> Any:
        """Remember what was sampled and which ground-truth box each proposal was matched with."""
        samples = super().select_training_samples(proposals, targets)  # type: ignore[misc]  # the head's own
        self.record["samples"] = samples
        self.record["ground_truth"] = [target["boxes"] for target in targets]
        return samples

    def _matches(
        self, seen: dict[str, Any], predictions: list[Any], losses: Any, image_shapes: list[tuple[int, int]]
    ) -> Matches:
        if "samples" not in seen or len(predictions) != 1 or "loss_box_reg" not in losses:
            raise InjectionError(
                f"{type(self).__name__}: a training step should call select_training_samples and box_predictor once and "
                f"return 'loss_box_reg', as torchvision's RoIHeads does. Found {int('samples' in seen)} and "
                f"{len(predictions)} calls and the losses {sorted(losses)}. A head that works differently needs an "
                "adapter of its own."
            )
        proposals, matched_idxs, labels, regression_targets = seen["samples"]
        label = torch.cat(labels)
        positive = torch.where(label > 0)[0]
        regression = predictions[0][1].reshape(label.numel(), -1, 4)
        agnostic = regression.shape[1] == 1
        matched_boxes = torch.cat(
            [
                # In an image without objects every proposal is negative: the row is never selected.
                boxes[matched] if len(boxes) else boxes.new_zeros((len(matched), 4))
                for boxes, matched in zip(seen["ground_truth"], matched_idxs, strict=True)
            ]
        )
        anchors = torch.cat(proposals)
        return Matches(
            pred_deltas=regression[positive, 0 if agnostic else label[positive]],
            target_boxes=matched_boxes[positive],
            anchors=anchors[positive],
            decode=self.box_coder.decode_single,
            target_deltas=lambda: torch.cat(regression_targets)[positive],
            image_size=lambda: torch.cat(
                [
                    anchors.new_tensor(shape).expand(len(boxes), 2)
                    for shape, boxes in zip(image_shapes, proposals, strict=True)
                ]
            )[positive],
            stock_divisor=float(label.numel()),
        )
