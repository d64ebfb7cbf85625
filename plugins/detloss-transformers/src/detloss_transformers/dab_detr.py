"""DAB-DETR."""

from transformers import DabDetrForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _DabDetr(FamilyAdapter):
    adapts = DabDetrForObjectDetection
    criterion = "DeformableDetrImageLoss"
    small = staticmethod(small_models.dab_detr)


class DabDetrAdapter(_DabDetr):
    """`dab_detr`: replaces ``loss_giou`` of transformers' ``DabDetrForObjectDetection``."""

    head_name = "dab_detr"
    host = "transformers"


class DabDetrL1Adapter(L1Slot, _DabDetr):
    """`dab_detr_l1`: replaces ``loss_bbox`` of transformers' ``DabDetrForObjectDetection``."""

    head_name = "dab_detr_l1"
    host = "transformers"
