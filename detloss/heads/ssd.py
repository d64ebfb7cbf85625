"""SSD and SSDlite."""

from typing import Any

from torch import Tensor
from torchvision.models.detection.ssd import SSD

from detloss.heads import small_detectors
from detloss.heads.base import Example
from detloss.heads.dense import DenseAdapter, Matching


class SSDAdapter(DenseAdapter):
    """`ssd`: replaces ``bbox_regression`` of torchvision's ``SSD`` or ``SSDlite``.

    It works with their subclasses too. Pairs are the matched default boxes. The stock loss is smooth L1 with beta 1 on
    deltas, divided by all positives of the batch.
    """

    head_name = "ssd"
    host = "torchvision"
    adapts = SSD

    box_coder: Any

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_detectors.example(small_detectors.ssd, "bbox_regression", {"name": "smooth_l1", "beta": 1.0})

    def matching(self, matched_idxs: list[Tensor]) -> Matching:
        """Return what SSD handed to its own `compute_loss`."""
        return Matching(matched_idxs, self.box_coder.encode_single, self.box_coder.decode_single)
