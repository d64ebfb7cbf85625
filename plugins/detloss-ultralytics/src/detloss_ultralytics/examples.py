"""A small model and its step, for the checks of heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import yaml_model_load

CLASSES = 3


def small(cls: Any, name: str) -> Any:
    """Build a model of ultralytics with random weights."""
    config = {**yaml_model_load(f"{name}.yaml"), "nc": CLASSES}
    if "rtdetr" in name:
        config["head"][-1][-1] = ["nc", 64, 30, 4, 4, 2, 64]  # width, queries, points, heads, layers, width within
    model = cls(config, verbose=False)
    model.args, model.nc = get_cfg(), CLASSES
    return model


def step(model: Any, objects: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Run a step on two images.

    The named losses are those that ultralytics shows.
    """
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.25, 0.5, 0.25, 0.5], [0.75, 0.5, 0.25, 0.25], [0.5, 0.5, 0.5, 0.75]])
    targets = {"batch_idx": torch.tensor([0.0, 0, 1]), "cls": torch.tensor([[0.0], [1], [2]]), "bboxes": boxes}
    images = images.to(next(model.parameters()).dtype)
    total, items = model({"img": images, **{name: value if objects else value[:0] for name, value in targets.items()}})
    return items, total.sum()
