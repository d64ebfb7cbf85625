"""The box head of Faster, Mask and Keypoint R-CNN."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import roi_heads
from torchvision.models.detection.roi_heads import RoIHeads

from detloss.errors import InjectionError
from detloss.heads import small_detectors
from detloss.heads.base import Example, HeadAdapter, image_sizes
from detloss.heads.losses import Matches
from detloss.loss import EXTRAS


class RoIHeadsAdapter(HeadAdapter):
    """`roi_heads`: replaces ``loss_box_reg`` of torchvision's ``RoIHeads`` or a subclass of it.

    Pairs are the positive sampled proposals, with the regression of their matched class (or the only one of a
    class-agnostic predictor). The stock loss is smooth L1 with beta 1/9 on deltas, divided by all sampled proposals,
    positive or not.
    """

    head_name = "roi_heads"
    host = "torchvision"
    adapts = RoIHeads
    supplies = frozenset(EXTRAS)
    stock_functions = ((roi_heads, "fastrcnn_loss"),)

    box_predictor: nn.Module
    box_coder: Any

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_detectors.example(
            small_detectors.faster_rcnn, "loss_box_reg", {"name": "smooth_l1", "beta": 1 / 9}
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head as it is; in training, replace its box loss."""
        if not self.training:
            return super().forward(*args, **kwargs)
        with self.recording(), self.watching(self.box_predictor) as predictions:
            result, losses = super().forward(*args, **kwargs)
            seen = self.require("select_training_samples")
        if len(predictions) != 1 or "loss_box_reg" not in losses:
            raise InjectionError(
                f"roi_heads: a training step of {type(self).__name__} called box_predictor "
                f"{len(predictions)} times and returned the losses {sorted(losses)}; expected one call and "
                "'loss_box_reg', as in torchvision's RoIHeads. Fix: write an adapter for this head."
            )
        image_shapes = args[2] if len(args) > 2 else kwargs["image_shapes"]
        losses["loss_box_reg"] = self.box_loss(
            self._matches(seen, predictions[0][1], losses["loss_box_reg"], image_shapes)
        )
        return result, losses

    def select_training_samples(self, proposals: list[Tensor], targets: list[dict[str, Tensor]]) -> Any:
        """Remember the samples and the ground-truth box of each proposal."""
        samples = super().select_training_samples(proposals, targets)  # type: ignore[misc]  # the head's own
        self.record["select_training_samples"] = samples
        self.record["ground_truth"] = [target["boxes"] for target in targets]
        return samples

    def _matches(
        self, seen: dict[str, Any], head_output: Tensor, stock_loss: Tensor, image_shapes: list[tuple[int, int]]
    ) -> Matches:
        proposals, matched_idxs, labels, regression_targets = seen["select_training_samples"]
        label = torch.cat(labels)
        positive = torch.where(label > 0)[0]
        # reshape(N, -1, 4) would not know the classes if no image has an object or a proposal.
        regression = torch.unflatten(head_output.flatten(1), 1, (-1, 4))
        agnostic = regression.shape[1] == 1
        matched_boxes = torch.cat(
            [
                # In an image without objects every proposal is negative: the row is never selected.
                boxes[matched] if len(boxes) else boxes.new_zeros((len(matched), 4))
                for boxes, matched in zip(seen["ground_truth"], matched_idxs, strict=True)
            ]
        )
        anchors = torch.cat(proposals)[positive]
        return Matches(
            pred_deltas=regression[positive, 0 if agnostic else label[positive]],
            target_boxes=matched_boxes[positive],
            anchors=anchors,
            decode=lambda deltas: self.box_coder.decode_single(deltas, anchors.to(deltas.dtype)),
            target_deltas=lambda: torch.cat(regression_targets)[positive],
            image_size=lambda: image_sizes(image_shapes, _image_of_each(proposals)[positive]),
            stock_divisor=float(label.numel()),
            stock_loss=lambda: stock_loss,
            head_output=head_output,
        )


def _image_of_each(proposals: list[Tensor]) -> Tensor:
    return torch.cat([proposals[0].new_full((len(boxes),), i, dtype=torch.int64) for i, boxes in enumerate(proposals)])
