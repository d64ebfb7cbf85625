"""The parameter of losses with quotients of sides."""

from pydantic import Field

from detloss.loss import LossConfig


class EpsConfig(LossConfig):
    """Parameters of a loss that divides by sides."""

    eps: float = Field(1e-7, ge=1e-9, le=1)
    """Pixels added to every side in a denominator; it must be far below the sides of the boxes."""
