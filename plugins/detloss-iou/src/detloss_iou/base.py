"""The base loss of a wrapper."""

from __future__ import annotations

from torch import Tensor

from detloss import ConfigError, build_loss
from detloss.loss import BoxRegressionLoss, NestedSpec

__all__ = ["build_iou_base", "extras_for"]


def build_iou_base(spec: NestedSpec, wrapper: str) -> BoxRegressionLoss:
    """Build a loss whose IoU a wrapper can replace.

    Args:
        spec: The loss, from any package.
        wrapper: Name of the wrapper, for the message.

    Raises:
        ConfigError: The loss is not declared as ``1 - IoU`` plus a penalty, with these parameters.
    """
    base = build_loss(spec)
    if not base.iou_term:
        raise ConfigError(
            f"{wrapper} replaces the IoU of a loss that is 1 - IoU plus a penalty, and the base {spec.model_dump()} is "
            "not declared as one (iou_term is False). Choose another base, such as iou, giou, diou or ciou."
        )
    return base


def extras_for(base: BoxRegressionLoss, **given: Tensor | None) -> dict[str, Tensor]:
    """Return what the base takes of what a head gave; what it needs and nobody gave, it will name itself."""
    return {name: value for name, value in given.items() if name in base.extras and value is not None}
