"""RetinaNet."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision.models.detection import RetinaNet, retinanet

from detloss.heads.base import Recorded
from detloss.heads.dense import DenseAdapter

__all__ = ["RetinaNetAdapter"]


class RetinaNetAdapter(DenseAdapter):
    """`retinanet`: replaces ``bbox_regression`` of torchvision's ``RetinaNet`` or a subclass of it.

    Pairs are the matched anchors. The stock loss is L1 on deltas (``retinanet_resnet50_fpn``) or GIoU on boxes
    (``retinanet_resnet50_fpn_v2``), divided by the positives of each image and averaged over the images.
    """

    head_name = "retinanet"
    adapts = RetinaNet
    stock_functions = ((retinanet, "_box_loss"),)

    head: Any = Recorded("compute_loss")

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        """Replace the box loss of the three."""
        with self.recording():
            losses: dict[str, Tensor] = super().compute_loss(  # type: ignore[misc]  # the detector's own
                targets, head_outputs, anchors
            )
            (*_, matched_idxs), _ = self.require("head")["head"]
            coder = self.head.regression_head.box_coder
            losses["bbox_regression"] = self.box_loss(
                self.matches(
                    regression=head_outputs["bbox_regression"],
                    targets=targets,
                    anchors=anchors,
                    matched_idxs=matched_idxs,
                    encode=coder.encode_single,
                    decode=coder.decode_single,
                    per_image=True,
                    stock_loss=losses["bbox_regression"],
                )
            )
        return losses
