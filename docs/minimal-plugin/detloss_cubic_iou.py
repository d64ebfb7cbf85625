from detloss import BoxRegressionLoss, LossConfig
from detloss.boxes import iou
from pydantic import Field


class CubicIoULoss(BoxRegressionLoss):
    """Cubic IoU: ``1 - IoU**power``, with power 3 (He et al., NeurIPS 2021, arXiv 2110.13675)."""

    class Config(LossConfig):
        power: float = Field(3.0, ge=1, le=10)

    def forward(self, pred, target):
        return 1 - iou(pred, target) ** self.config.power
