"""Table Transformer."""

from transformers import TableTransformerForObjectDetection

from detloss_transformers import small_models
from detloss_transformers.family import FamilyAdapter, L1Slot


class _TableTransformer(FamilyAdapter):
    adapts = TableTransformerForObjectDetection
    criterion = "ImageLoss"
    small = staticmethod(small_models.table_transformer)


class TableTransformerAdapter(_TableTransformer):
    """`table_transformer`: replaces ``loss_giou`` of transformers' ``TableTransformerForObjectDetection``."""

    head_name = "table_transformer"
    host = "transformers"


class TableTransformerL1Adapter(L1Slot, _TableTransformer):
    """`table_transformer_l1`: replaces ``loss_bbox`` of transformers' ``TableTransformerForObjectDetection``."""

    head_name = "table_transformer_l1"
    host = "transformers"
