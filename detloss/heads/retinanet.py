"""RetinaNet."""

from typing import Any

from torchvision.models.detection import RetinaNet, retinanet

from detloss.heads import small_detectors
from detloss.heads.base import Example
from detloss.heads.dense import DenseAdapter, Matching


class RetinaNetAdapter(DenseAdapter):
    """`retinanet`: replaces ``bbox_regression`` of torchvision's ``RetinaNet`` or a subclass of it.

    Pairs are the matched anchors. The stock loss is L1 on deltas (``retinanet_resnet50_fpn``) or GIoU on boxes
    (``retinanet_resnet50_fpn_v2``), divided by the positives of each image and averaged over the images.
    """

    head_name = "retinanet"
    host = "torchvision"
    adapts = RetinaNet
    per_image = True
    stock_functions = ((retinanet, "_box_loss"),)

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_detectors.example(small_detectors.retinanet, "bbox_regression", "l1")

    def matching(self, *_rest: Any, **_named: Any) -> Matching:
        """Return what RetinaNet handed to its head."""
        (*_, matched_idxs), _ = self.require("head")["head"]
        coder = self.head.regression_head.box_coder
        return Matching(matched_idxs, coder.encode_single, coder.decode_single)
