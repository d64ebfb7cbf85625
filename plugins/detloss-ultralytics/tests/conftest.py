"""Where ultralytics may write in tests, and tiny models and data for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_yolos import Batch, write_shapes

# Before ultralytics is imported: it writes settings below its home, and looks for the network.
_HOME = tempfile.TemporaryDirectory(prefix="detloss-ultralytics-")
os.environ |= {"HOME": _HOME.name, "YOLO_CONFIG_DIR": _HOME.name, "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

HEIGHT, WIDTH = 64, 96


@pytest.fixture
def batch() -> Batch:
    """Two images of 64 x 96 with two boxes and one: center, width and height in sizes of the image."""
    return {
        "img": torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)),
        "batch_idx": torch.tensor([0.0, 0, 1]),
        "cls": torch.tensor([[0.0], [1], [2]]),
        "bboxes": torch.tensor([[0.25, 0.5, 0.25, 0.5], [0.75, 0.5, 0.25, 0.25], [0.5, 0.5, 0.5, 0.75]]),
    }


@pytest.fixture
def empty(batch: Batch) -> Batch:
    """The images without an object."""
    return {name: value if name == "img" else value[:0] for name, value in batch.items()}


@pytest.fixture(scope="session")
def build() -> Callable[[str], Any]:
    """Build a model from its name, with random weights that are always the same."""
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

    from detloss_ultralytics.examples import small

    def built(name: str) -> Any:
        torch.manual_seed(0)
        return small(RTDETRDetectionModel if "rtdetr" in name else DetectionModel, name).train()

    return built


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of ultralytics with 8 and 4 synthetic images, and ``val.json``."""
    return write_shapes(tmp_path_factory.mktemp("shapes"), train=8, val=4, size=64)
