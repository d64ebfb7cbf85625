"""YOLOS."""

from transformers import YolosForObjectDetection

from detloss.heads.base import Recorded
from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _Yolos(FamilyAdapter):
    adapts = YolosForObjectDetection
    criterion = "ImageLoss"
    small = staticmethod(small_models.yolos)
    inner = "vit"

    vit = Recorded()


class YolosAdapter(_Yolos):
    """`yolos`: replaces ``loss_giou`` of transformers' ``YolosForObjectDetection``."""

    head_name = "yolos"
    host = "transformers"


class YolosL1Adapter(L1Slot, _Yolos):
    """`yolos_l1`: replaces ``loss_bbox`` of transformers' ``YolosForObjectDetection``."""

    head_name = "yolos_l1"
    host = "transformers"
