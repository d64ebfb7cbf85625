"""LW-DETR."""

from transformers import LwDetrForObjectDetection

from detloss.heads.base import Example
from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _LwDetr(FamilyAdapter):
    adapts = LwDetrForObjectDetection
    criterion = "LwDetrImageLoss"

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_models.example(small_models.lw_detr, cls.entry)


class LwDetrAdapter(_LwDetr):
    """`lw_detr`: replaces ``loss_giou`` of transformers' ``LwDetrForObjectDetection``."""

    head_name = "lw_detr"
    host = "transformers"


class LwDetrL1Adapter(L1Slot, _LwDetr):
    """`lw_detr_l1`: replaces ``loss_bbox`` of transformers' ``LwDetrForObjectDetection``."""

    head_name = "lw_detr_l1"
    host = "transformers"
