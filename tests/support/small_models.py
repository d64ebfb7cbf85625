"""Small detectors and their states: what the tests of building share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import list_models

BUILDERS = list_models(module=torchvision.models.detection)
KINDS = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssdlite320_mobilenet_v3_large",
)
"""A builder of each kind of predictor, the lightest one."""
# The least model there is: a MobileNet without pretrained weights.
SMALL: dict[str, Any] = {"model": "fasterrcnn", "backbone": "mobilenet_v2", "options": {"min_size": 64, "max_size": 64}}
IMAGENET = Path(__file__).parents[3] / "shared" / "weights" / "mobilenet_v2-b0353104.pth"
imagenet = pytest.mark.skipif(not IMAGENET.is_file(), reason="mobilenet_v2-b0353104.pth is not beside the repository")


def saved(model: nn.Module, folder: Path, name: str = "state.pth") -> str:
    torch.save(model.state_dict(), folder / name)
    return str(folder / name)


def differing(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> set[str]:
    """Keys of `new` whose tensor is not that of `old`, bit for bit."""
    return {key for key in new if not key.endswith("num_batches_tracked") and not torch.equal(old[key], new[key])}


def losses_of(model: nn.Module, **more: Tensor) -> dict[str, Tensor]:
    """The losses on one image with one object, of which a target may hold more."""
    torch.manual_seed(0)
    target = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 50.0]]), "labels": torch.tensor([1]), **more}
    losses: dict[str, Tensor] = model.train()([torch.rand(3, 64, 64)], [target])
    return losses
