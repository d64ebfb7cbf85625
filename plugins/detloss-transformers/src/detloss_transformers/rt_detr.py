"""RT-DETR."""

from transformers import RTDetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _RTDetr(FamilyAdapter):
    adapts = RTDetrForObjectDetection
    criterion = "RTDetrLoss"
    small = staticmethod(small_models.rt_detr)


class RTDetrAdapter(_RTDetr):
    """`rt_detr`: replaces ``loss_giou`` of transformers' ``RTDetrForObjectDetection``."""

    head_name = "rt_detr"
    host = "transformers"


class RTDetrL1Adapter(L1Slot, _RTDetr):
    """`rt_detr_l1`: replaces ``loss_bbox`` of transformers' ``RTDetrForObjectDetection``."""

    head_name = "rt_detr_l1"
    host = "transformers"
