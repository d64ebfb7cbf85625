"""RF-DETR."""

from transformers import RfDetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _RfDetr(FamilyAdapter):
    adapts = RfDetrForObjectDetection
    criterion = "LwDetrImageLoss"
    small = staticmethod(small_models.rf_detr)


class RfDetrAdapter(_RfDetr):
    """`rf_detr`: replaces ``loss_giou`` of transformers' ``RfDetrForObjectDetection``."""

    head_name = "rf_detr"
    host = "transformers"


class RfDetrL1Adapter(L1Slot, _RfDetr):
    """`rf_detr_l1`: replaces ``loss_bbox`` of transformers' ``RfDetrForObjectDetection``."""

    head_name = "rf_detr_l1"
    host = "transformers"
