"""Conditional DETR."""

from transformers import ConditionalDetrForObjectDetection

from detloss.heads.base import Example
from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _ConditionalDetr(FamilyAdapter):
    adapts = ConditionalDetrForObjectDetection
    criterion = "DeformableDetrImageLoss"

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_models.example(small_models.conditional_detr, cls.entry)


class ConditionalDetrAdapter(_ConditionalDetr):
    """`conditional_detr`: replaces ``loss_giou`` of transformers' ``ConditionalDetrForObjectDetection``."""

    head_name = "conditional_detr"
    host = "transformers"


class ConditionalDetrL1Adapter(L1Slot, _ConditionalDetr):
    """`conditional_detr_l1`: replaces ``loss_bbox`` of transformers' ``ConditionalDetrForObjectDetection``."""

    head_name = "conditional_detr_l1"
    host = "transformers"
