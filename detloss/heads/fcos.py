"""FCOS."""

from typing import Any

from torchvision.models.detection import FCOS, fcos

from detloss.heads.dense import DenseAdapter, Matching


class FCOSAdapter(DenseAdapter):
    """`fcos`: replaces ``bbox_regression`` of torchvision's ``FCOS``, not its centerness.

    Pairs are the matched points. The stock loss is GIoU on boxes, divided by all positives of the batch. The head's
    own encoding, which deltas-space losses act on, is the distance from the point to the left, top, right and bottom
    side of the box, in units of the side of the point's (square) anchor: the stride of its level. The head predicts it
    through a ReLU, so it is never negative.
    """

    head_name = "fcos"
    adapts = FCOS
    stock_functions = ((fcos, "generalized_box_iou_loss"),)

    def matching(self, *_rest: Any, **_named: Any) -> Matching:
        """Return what FCOS handed to its head."""
        (*_, matched_idxs), _ = self.require("head")["head"]
        coder = self.head.box_coder
        # torchvision calls the anchors the reference here, the other way round than BoxCoder.
        return Matching(matched_idxs, lambda boxes, points: coder.encode(points, boxes), coder.decode)
