"""D-FINE."""

from transformers import DFineForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _DFine(FamilyAdapter):
    adapts = DFineForObjectDetection
    criterion = "DFineLoss"
    small = staticmethod(small_models.d_fine)


class DFineAdapter(_DFine):
    """`d_fine`: replaces ``loss_giou`` of transformers' ``DFineForObjectDetection``."""

    head_name = "d_fine"
    host = "transformers"


class DFineL1Adapter(L1Slot, _DFine):
    """`d_fine_l1`: replaces ``loss_bbox`` of transformers' ``DFineForObjectDetection``."""

    head_name = "d_fine_l1"
    host = "transformers"
