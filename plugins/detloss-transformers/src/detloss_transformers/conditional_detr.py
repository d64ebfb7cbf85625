"""Conditional DETR."""

from transformers import ConditionalDetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _ConditionalDetr(FamilyAdapter):
    adapts = ConditionalDetrForObjectDetection
    criterion = "DeformableDetrImageLoss"
    small = staticmethod(small_models.conditional_detr)


class ConditionalDetrAdapter(_ConditionalDetr):
    """`conditional_detr`: replaces ``loss_giou`` of transformers' ``ConditionalDetrForObjectDetection``."""

    head_name = "conditional_detr"
    host = "transformers"


class ConditionalDetrL1Adapter(L1Slot, _ConditionalDetr):
    """`conditional_detr_l1`: replaces ``loss_bbox`` of transformers' ``ConditionalDetrForObjectDetection``."""

    head_name = "conditional_detr_l1"
    host = "transformers"
