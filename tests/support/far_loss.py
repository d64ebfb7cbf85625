"""A plugin's module as text."""

from __future__ import annotations

LOSS_SOURCE = '''
"""A plugin."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from detloss.loss import BoxRegressionLoss, LossConfig


class FarLoss(BoxRegressionLoss):
    """Sum of the coordinates' distances (Doe, 2024, arXiv 2401.00001).

    It is here to be loaded.
    """

    class Config(LossConfig):
        """Parameters."""

        scale: float = Field(1.0, gt=0)
        """Factor on the distance."""

    config: Config
    space = "deltas"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).abs().sum(dim=-1) * self.config.scale
'''
"""A complete loss, whose docstring and space a listing reads."""
