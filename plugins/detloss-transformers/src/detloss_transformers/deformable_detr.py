"""Deformable DETR."""

from transformers import DeformableDetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _DeformableDetr(FamilyAdapter):
    adapts = DeformableDetrForObjectDetection
    criterion = "DeformableDetrImageLoss"
    small = staticmethod(small_models.deformable_detr)


class DeformableDetrAdapter(_DeformableDetr):
    """`deformable_detr`: replaces ``loss_giou`` of transformers' ``DeformableDetrForObjectDetection``."""

    head_name = "deformable_detr"
    host = "transformers"


class DeformableDetrL1Adapter(L1Slot, _DeformableDetr):
    """`deformable_detr_l1`: replaces ``loss_bbox`` of transformers' ``DeformableDetrForObjectDetection``."""

    head_name = "deformable_detr_l1"
    host = "transformers"
