"""FCOS."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision.models.detection import FCOS, fcos

from detloss.heads.base import Recorded
from detloss.heads.dense import DenseAdapter

__all__ = ["FCOSAdapter"]


class FCOSAdapter(DenseAdapter):
    """`fcos`: replaces ``bbox_regression`` of torchvision's ``FCOS`` or a subclass of it; centerness stays as it is.

    Pairs are the matched points. The stock loss is GIoU on boxes, divided by all positives of the batch. The head's
    own encoding, which deltas-space losses act on, is the distance from the point to the left, top, right and bottom
    side of the box, in units of the side of the point's (square) anchor: the stride of its level. The head predicts it
    through a ReLU, so it is never negative.
    """

    head_name = "fcos"
    adapts = FCOS
    stock_functions = ((fcos, "generalized_box_iou_loss"),)

    head: Any = Recorded("compute_loss")

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        num_anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        """Replace the box loss of the three."""
        with self.recording():
            losses: dict[str, Tensor] = super().compute_loss(  # type: ignore[misc]  # the detector's own
                targets, head_outputs, anchors, num_anchors_per_level
            )
            (*_, matched_idxs), _ = self.require("head")["head"]
            coder = self.head.box_coder
            losses["bbox_regression"] = self.box_loss(
                self.matches(
                    regression=head_outputs["bbox_regression"],
                    targets=targets,
                    anchors=anchors,
                    matched_idxs=matched_idxs,
                    # torchvision calls the anchors the reference here, the other way round than BoxCoder.
                    encode=lambda boxes, points: coder.encode(points, boxes),
                    decode=coder.decode,
                    per_image=False,
                    stock_loss=losses["bbox_regression"],
                )
            )
        return losses
