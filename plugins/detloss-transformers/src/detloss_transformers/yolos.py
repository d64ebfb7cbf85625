"""YOLOS."""

from transformers import YolosForObjectDetection

from detloss.heads.base import Example, Recorded
from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _Yolos(FamilyAdapter):
    adapts = YolosForObjectDetection
    criterion = "ImageLoss"
    inner = "vit"

    vit = Recorded()

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head."""
        return small_models.example(small_models.yolos, cls.entry)


class YolosAdapter(_Yolos):
    """`yolos`: replaces ``loss_giou`` of transformers' ``YolosForObjectDetection``."""

    head_name = "yolos"
    host = "transformers"


class YolosL1Adapter(L1Slot, _Yolos):
    """`yolos_l1`: replaces ``loss_bbox`` of transformers' ``YolosForObjectDetection``."""

    head_name = "yolos_l1"
    host = "transformers"
