"""RT-DETRv2."""

from transformers import RTDetrV2ForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _RTDetrV2(FamilyAdapter):
    adapts = RTDetrV2ForObjectDetection
    criterion = "RTDetrLoss"
    small = staticmethod(small_models.rt_detr_v2)


class RTDetrV2Adapter(_RTDetrV2):
    """`rt_detr_v2`: replaces ``loss_giou`` of transformers' ``RTDetrV2ForObjectDetection``."""

    head_name = "rt_detr_v2"
    host = "transformers"


class RTDetrV2L1Adapter(L1Slot, _RTDetrV2):
    """`rt_detr_v2_l1`: replaces ``loss_bbox`` of transformers' ``RTDetrV2ForObjectDetection``."""

    head_name = "rt_detr_v2_l1"
    host = "transformers"
