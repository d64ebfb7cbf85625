"""The region proposal network of Faster, Mask and Keypoint R-CNN."""

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork

from detloss.heads import small_detectors
from detloss.heads.base import Example, HeadAdapter, Recorded, image_sizes
from detloss.heads.losses import Matches
from detloss.loss import EXTRAS


class RPNAdapter(HeadAdapter):
    """`rpn`: replaces ``loss_rpn_box_reg`` of torchvision's ``RegionProposalNetwork`` or a subclass of it.

    Pairs are the positive sampled anchors. The stock loss is smooth L1 with beta 1/9 on deltas, divided by all sampled
    anchors, positive or not.
    """

    head_name = "rpn"
    host = "torchvision"
    adapts = RegionProposalNetwork
    supplies = frozenset(EXTRAS)

    box_coder: Any
    fg_bg_sampler = Recorded()

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_detectors.example(
            small_detectors.faster_rcnn, "loss_rpn_box_reg", {"name": "smooth_l1", "beta": 1 / 9}
        )

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, image_shapes: list[tuple[int, int]], *args: Any
    ) -> Any:
        """Remember the sizes of the images."""
        if self.training:
            self.record["image_sizes"] = image_shapes
        return super().filter_proposals(proposals, objectness, image_shapes, *args)  # type: ignore[misc]

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: list[dict[str, Tensor]]) -> Any:
        """Remember the anchors and which ground-truth box each was matched with."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)  # type: ignore[misc]  # the head's own
        self.record.update(anchors=anchors, boxes=boxes)
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Replace the second of the two losses."""
        objectness_loss, box_loss = super().compute_loss(  # type: ignore[misc]  # the head's own
            objectness, pred_bbox_deltas, labels, regression_targets
        )
        seen = self.require("anchors", "fg_bg_sampler")
        _, (positive_masks, negative_masks) = seen["fg_bg_sampler"]
        positive = torch.where(torch.cat(positive_masks))[0]
        anchors = torch.cat(seen["anchors"])[positive]
        matches = Matches(
            pred_deltas=pred_bbox_deltas[positive],
            target_boxes=torch.cat(seen["boxes"])[positive],
            anchors=anchors,
            decode=lambda deltas: self.box_coder.decode_single(deltas, anchors.to(deltas.dtype)),
            target_deltas=lambda: torch.cat(regression_targets)[positive],
            image_size=lambda: image_sizes(self.require("image_sizes")["image_sizes"], positive // len(labels[0])),
            stock_divisor=(len(positive) + torch.cat(negative_masks).sum()).clamp(min=1),
            stock_loss=lambda: box_loss,
            head_output=pred_bbox_deltas,
        )
        return objectness_loss, self.box_loss(matches)
