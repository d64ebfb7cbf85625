"""SSD and SSDlite."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision.models.detection.ssd import SSD

from detloss.heads.dense import DenseAdapter

__all__ = ["SSDAdapter"]


class SSDAdapter(DenseAdapter):
    """`ssd`: replaces ``bbox_regression`` of torchvision's ``SSD`` (SSDlite is one) or a subclass of it.

    Pairs are the matched default boxes. The stock loss is smooth L1 with beta 1 on deltas, divided by all positives of
    the batch.
    """

    head_name = "ssd"
    adapts = SSD

    box_coder: Any

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Replace the box loss of the two."""
        losses: dict[str, Tensor] = super().compute_loss(  # type: ignore[misc]  # the detector's own
            targets, head_outputs, anchors, matched_idxs
        )
        losses["bbox_regression"] = self.box_loss(
            self.matches(
                regression=head_outputs["bbox_regression"],
                targets=targets,
                anchors=anchors,
                matched_idxs=matched_idxs,
                encode=self.box_coder.encode_single,
                decode=self.box_coder.decode_single,
                per_image=False,
                stock_loss=losses["bbox_regression"],
            )
        )
        return losses
