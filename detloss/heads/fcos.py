"""FCOS."""

from typing import Any

from torchvision.models.detection import FCOS, fcos

from detloss.heads import small_detectors
from detloss.heads.base import Example
from detloss.heads.dense import DenseAdapter, Matching


class FCOSAdapter(DenseAdapter):
    """`fcos`: replaces ``bbox_regression`` of torchvision's ``FCOS``, not its centerness.

    It works with subclasses of ``FCOS`` too. Pairs are the matched points. The stock loss is GIoU on boxes, divided by
    all positives of the batch. Losses on deltas get the head's own encoding: the distances from the point to the left,
    top, right and bottom side of the box, in units of the stride of its level. They pass a ReLU, so they are never
    negative.
    """

    head_name = "fcos"
    host = "torchvision"
    adapts = FCOS
    stock_functions = ((fcos, "generalized_box_iou_loss"),)

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_detectors.example(small_detectors.fcos, "bbox_regression", "giou")

    def matching(self, *_rest: Any, **_named: Any) -> Matching:
        """Return what FCOS handed to its head."""
        (*_, matched_idxs), _ = self.require("head")["head"]
        coder = self.head.box_coder
        # torchvision calls the anchors the reference here, unlike in BoxCoder.
        return Matching(matched_idxs, lambda boxes, points: coder.encode(points, boxes), coder.decode)
