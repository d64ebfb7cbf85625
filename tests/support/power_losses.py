"""Losses for configs to name, and what is found wrong with a config."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field
from torch import Tensor

from detloss import BoxRegressionLoss, ConfigError, LossConfig, NestedSpec, build_loss, load_config
from detloss.errors import Finding

YAML = """\
model: ssd300_vgg16
num_classes: 4
options: {score_thresh: 0.5}
losses:
  roi_heads:
    - power
    - {name: power, power: 3, weight: 2}
"""
"""A config that names the first of them twice."""


class PowerLoss(BoxRegressionLoss):
    """Distance to a power."""

    class Config(LossConfig):
        """Parameters."""

        power: float = Field(2.0, gt=0)
        bounds: tuple[float, float] = (0.0, 1.0)
        api_token: int = 0

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).abs().sum(dim=-1) ** self.config.power


class AroundLoss(BoxRegressionLoss):
    """A loss around others."""

    class Config(LossConfig):
        """Parameters."""

        inner: NestedSpec = NestedSpec(name="power")
        more: tuple[NestedSpec, ...] = ()

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return build_loss(self.config.inner)(pred, target)


def findings(source: Any, **arguments: Any) -> tuple[Finding, ...]:
    """What is wrong with a config, which `load_config` must refuse."""
    with pytest.raises(ConfigError) as caught:
        load_config(source, **arguments)
    return caught.value.findings


def places(source: Any, **arguments: Any) -> list[tuple[int | None, int | None, str]]:
    """Line, column and key of each finding."""
    return [(each.line, each.column, each.key) for each in findings(source, **arguments)]
