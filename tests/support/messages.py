"""What a process of a distributed job exchanges with the others, counted where torch hands it to gloo."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from guarded import trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset

from detloss.training import DetectionModule, collate
from detloss_iou.wiou import WIoULoss

IMAGES, DETECTIONS, OBJECTS, CLASSES, STEPS = 8, 100, 7, 3, 3


class Messages(TorchDispatchMode):
    """Records each collective: its name, and the bytes that this process puts in and gets out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func.overloadpacket.__name__
            out = _bytes(args[0])
            # Others take a list of outputs and one of inputs.
            self.seen.append((name, _bytes(args[1]) if name in ("allgather_", "gather_") else out, out))
        return func(*args, **(kwargs or {}))


class AtTheEnd(pl.Callback):
    """Records the messages from the end of the last batch of an evaluation to the end of the evaluation."""

    def __init__(self) -> None:
        self.messages = Messages()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.messages.__enter__()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.messages.__exit__(None, None, None)


class Boxes(Dataset[Any]):
    """Images with as many objects as those of COCO have."""

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        corners = torch.rand(OBJECTS, 2, generator=torch.Generator().manual_seed(index)) * 30
        labels = 1 + torch.arange(OBJECTS) % CLASSES
        target = {"boxes": torch.cat([corners, corners + 20], dim=1), "labels": labels, "area": torch.ones(OBJECTS)}
        return torch.zeros(3, 8, 8), {**target, "iscrowd": torch.zeros_like(labels), "image_id": torch.tensor(index)}


class Finder(nn.Module):
    """Finds as many objects as torchvision's detectors return at most."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        corners = torch.arange(2.0 * DETECTIONS).reshape(-1, 2)
        found = {"boxes": torch.cat([corners, corners + 20], dim=1), "scores": torch.linspace(0, 1, DETECTIONS)}
        return [{**found, "labels": torch.ones(DETECTIONS, dtype=torch.int64)} for _ in images]


def count(folder: Path, processes: int) -> None:
    """Evaluate, then compute a loss with a running mean, as one process of a job."""
    warnings.simplefilter("default")  # what Lightning says of a trainer of one's own
    end = AtTheEnd()
    run = trainer(folder, end, devices=processes, strategy="ddp", use_distributed_sampler=True)
    module = DetectionModule(Finder())
    run.validate(module, DataLoader(Boxes(), collate_fn=collate), verbose=False)
    loss, pair = WIoULoss(), torch.tensor([[0.0, 0, 10, 10]]).expand(5, 4)
    with Messages() as steps:
        for _ in range(STEPS):
            loss(pair, pair)
    found = {
        "evaluation": end.messages.seen,
        "steps": steps.seen,
        "detections": sorted(module.detections),
        "monitored": float(run.callback_metrics["val/AP"]),
    }
    (folder / f"{processes}-{run.global_rank}.json").write_text(json.dumps(found))


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tree_leaves(tensors) if isinstance(tensor, Tensor))
