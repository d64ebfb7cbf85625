"""DETR."""

from transformers import DetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _Detr(FamilyAdapter):
    adapts = DetrForObjectDetection
    criterion = "ImageLoss"
    small = staticmethod(small_models.detr)


class DetrAdapter(_Detr):
    """`detr`: replaces ``loss_giou`` of transformers' ``DetrForObjectDetection``."""

    head_name = "detr"
    host = "transformers"


class DetrL1Adapter(L1Slot, _Detr):
    """`detr_l1`: replaces ``loss_bbox`` of transformers' ``DetrForObjectDetection``."""

    head_name = "detr_l1"
    host = "transformers"
