"""Unified-IoU: a wrapper."""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import bounded, inverted, iou, scaled
from detloss.config import build_loss
from detloss.errors import ConfigError
from detloss.loss import GIOU_SCALE, BoxRegressionLoss, LossConfig, NestedSpec
from detloss_iou.eps import EpsConfig
from detloss_iou.wrapper import extras_for


class UnifiedIoULoss(BoxRegressionLoss):
    """Unified-IoU: ``L_base`` of boxes scaled, from 2 down to 0.5.

    Formula::

        L = F L_base(scale(P, r), scale(G, r))

        r = 2 - 1.5 t                  linear
            0.75 cos(pi t) + 1.25      cosine
            2 / (1 + 3 t)              fraction
        F = 1,  1 - IoU^gamma (focal)  or  IoU^gamma (focal_inv)

    Both boxes are scaled about their own centers. Enlarged boxes overlap early in training; shrunk boxes separate good
    predictions later. ``t`` is the progress of the training, from 0 to 1 (the paper's 300 epochs); after the end the
    ratio stays at 0.5. ``F`` is a weight by the IoU of the scaled boxes, and is detached.

    The progress is a buffer. `detloss train` sets it; your own training loop must set it too::

        for module in model.modules():
            if isinstance(progress := getattr(module, "progress", None), torch.Tensor):
                progress.fill_(step / total_steps)

    References:
        Luo et al., 2024, arXiv 2408.06636.

    Range:
        That of the base; [0, 2.5] for ciou.

    Degenerate boxes:
        Those of the base.

    Raises:
        ConfigError: The base does not take boxes.
    """

    class Config(EpsConfig):
        base: NestedSpec = NestedSpec(name="ciou")
        """The loss of the scaled boxes: a name, or a name with parameters."""
        schedule: Literal["linear", "cosine", "fraction"] = "linear"
        """How the ratio falls from 2 to 0.5 during training."""
        focal: Literal["none", "focal", "focal_inv"] = "none"
        """Weight of a pair: none, `1 - IoU^gamma` (favors hard pairs) or `IoU^gamma` (favors easy ones)."""
        gamma: float = Field(0.5, ge=0.1, le=10)
        """Exponent of the focal weight."""

    config: Config
    recommended_weights = GIOU_SCALE
    minimum = None
    invariances = frozenset({"translation"})

    progress: Tensor
    """Progress of the training, from 0 to 1; of shape ()."""

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.base = build_loss(self.config.base)
        self.extras = self.base.extras
        if self.base.space != "boxes":
            raise ConfigError(
                f"unified: the base {self.config.base.model_dump()} is wrong (found a loss on {self.base.space}, "
                "expected boxes). Fix: choose a base on boxes, such as ciou."
            )
        self.batch_dependent = self.base.batch_dependent
        self.register_buffer("progress", torch.zeros(()))

    def forward(
        self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None, anchors: Tensor | None = None
    ) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        ratio = self.ratio()
        pred, target = scaled(bounded(pred), ratio), scaled(bounded(target), ratio)
        extras = extras_for(self.base, image_size=image_size, anchors=anchors)
        loss = self.base(pred, target, **extras)
        if self.config.focal == "none":
            return loss
        weight = iou(pred, target, self.config.eps).detach().pow(self.config.gamma)
        if self.config.focal == "focal":
            weight = 1 - weight
        # An inverted box has IoU 0, and must not get the weight 0.
        return loss * torch.where(inverted(pred), 1, weight)

    def ratio(self) -> Tensor:
        """Return the current factor on the sides, from 2 to 0.5."""
        t = self.progress.clamp(0, 1)
        match self.config.schedule:
            case "linear":
                return 2 - 1.5 * t
            case "cosine":
                return 0.75 * torch.cos(math.pi * t) + 1.25
            case "fraction":
                return 2 / (1 + 3 * t)
