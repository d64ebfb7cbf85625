"""Deformable DETR."""

from transformers import DeformableDetrForObjectDetection

from detloss.heads.base import Example
from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _DeformableDetr(FamilyAdapter):
    adapts = DeformableDetrForObjectDetection
    criterion = "DeformableDetrImageLoss"

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_models.example(small_models.deformable_detr, cls.entry)


class DeformableDetrAdapter(_DeformableDetr):
    """`deformable_detr`: replaces ``loss_giou`` of transformers' ``DeformableDetrForObjectDetection``."""

    head_name = "deformable_detr"
    host = "transformers"


class DeformableDetrL1Adapter(L1Slot, _DeformableDetr):
    """`deformable_detr_l1`: replaces ``loss_bbox`` of transformers' ``DeformableDetrForObjectDetection``."""

    head_name = "deformable_detr_l1"
    host = "transformers"
