"""The parameter of nearly every loss of this package."""

from pydantic import Field

from detloss.loss import LossConfig


class EpsConfig(LossConfig):
    """Parameters of a loss with only eps."""

    eps: float = Field(1e-7, ge=1e-12, le=1)
    """Added to every denominator (px, px²) for boxes without area. It is absolute: scale normalized boxes up."""
