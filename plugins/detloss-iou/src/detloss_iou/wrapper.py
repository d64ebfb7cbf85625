"""A loss around another loss."""

from typing import Any

from torch import Tensor

from detloss.config import build_loss
from detloss.errors import ConfigError
from detloss.loss import GIOU_SCALE, BoxRegressionLoss, LossConfig, NestedSpec
from detloss_iou.eps import EpsConfig


class IoUWrapper(BoxRegressionLoss):
    """Replaces the IoU of a base and keeps its penalties.

    Raises:
        ConfigError: The base is not declared as ``1 - IoU`` plus a penalty, so it has no IoU to replace.
    """

    class Config(LossConfig):
        base: NestedSpec = NestedSpec(name="iou")
        """The loss whose IoU is replaced: a name, or a name with parameters."""

    config: Config
    recommended_weights = GIOU_SCALE
    invariances = frozenset({"translation"})  # of every base

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.base = build_loss(self.config.base)
        self.extras = self.base.extras
        if not self.base.iou_term:
            raise ConfigError(
                f"{type(self).__name__}: the base {self.config.base.model_dump()} is wrong (found iou_term False, "
                "expected a loss declared as 1 - IoU plus a penalty). Fix: choose another base, such as iou, giou, "
                "diou or ciou."
            )
        # The replaced IoU must be that of the base.
        self.eps: float = getattr(self.base.config, "eps", EpsConfig().eps)

    def base_loss(self, pred: Tensor, target: Tensor, **given: Tensor | None) -> Tensor:
        """Return the ``(N,)`` losses of the base."""
        return self.base(pred, target, **extras_for(self.base, **given))


def extras_for(base: BoxRegressionLoss, **given: Tensor | None) -> dict[str, Tensor]:
    """Return the extras from the head that the base needs."""
    return {name: value for name, value in given.items() if name in base.extras and value is not None}
