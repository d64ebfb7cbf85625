"""LW-DETR."""

from transformers import LwDetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _LwDetr(FamilyAdapter):
    adapts = LwDetrForObjectDetection
    criterion = "LwDetrImageLoss"
    small = staticmethod(small_models.lw_detr)


class LwDetrAdapter(_LwDetr):
    """`lw_detr`: replaces ``loss_giou`` of transformers' ``LwDetrForObjectDetection``."""

    head_name = "lw_detr"
    host = "transformers"


class LwDetrL1Adapter(L1Slot, _LwDetr):
    """`lw_detr_l1`: replaces ``loss_bbox`` of transformers' ``LwDetrForObjectDetection``."""

    head_name = "lw_detr_l1"
    host = "transformers"
