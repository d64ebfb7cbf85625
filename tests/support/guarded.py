"""A detector with state everywhere, pictures that can be told apart, and a loss that fails on one of them."""

from __future__ import annotations

import copy
import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from pydantic import Field
from pytorch_lightning.plugins import MixedPrecision
from tiny_detectors import backbone, faster_rcnn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.models.detection import FasterRCNN

from detloss import BoxRegressionLoss, LossConfig, inject
from detloss.training import DetectionModule, FitConfig, Guard, collate

BAD_PICTURE = 5
"""Of eight pictures in batches of two it is the second of batch 3: the box head's target starts 15 px from the left."""
BAD_STEP = 3

Snapshot = tuple[dict[str, Tensor], dict[str, Any]]
"""State of the module and of the optimizer."""


class BrokenLoss(BoxRegressionLoss):
    """L1 with a running mean, and NaN for the object of one picture."""

    class Config(LossConfig):
        """When and how it breaks."""

        picture: int = Field(-1, ge=-1)
        """The picture of `Pictures` whose object it breaks on; -1 for none."""
        what: Literal["value", "gradient"] = "value"
        """Whether the value is NaN, or is finite and its gradient NaN."""
        process: int = 0
        """The process in which it breaks."""
        spreads: bool = False
        """Whether each value has the running mean as a factor: in training all are NaN where one is."""

    config: Config

    def __init__(self, config: Config | None = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.tensor(1.0))
        self.rows: list[list[int]] = []

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = (pred - target).abs().sum(dim=1)
        bad = target[:, 0] == left_edge(self.config.picture)
        if int(os.environ.get("LOCAL_RANK", "0")) != self.config.process:
            bad = torch.zeros_like(bad)
        if self.training:
            self.rows.append(torch.where(bad)[0].tolist())
        if self.config.what == "value":
            values = torch.where(bad, torch.nan, values)
        else:
            values = values.clone()
            left = pred[bad, 0]
            # d sqrt(|z|) at z = 0 is infinity times the 0 of |z|.
            values[bad] = values[bad] + (left - left.detach()).abs().sqrt()
        if self.training:
            self.mean.lerp_(values.detach().mean().to(self.mean.dtype), 0.1)
        return values * self.mean if self.config.spreads else values


class Pictures(Dataset[Any]):
    """Grey pictures with a bright square each, whose left edge is 10 pixels and the picture's number from the left."""

    def __init__(self, number: int, bad_pixel: int = -1) -> None:
        self.number, self.bad_pixel = number, bad_pixel

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        left = left_edge(index)
        image = torch.full((3, 64, 64), 0.2)
        image[:, 10:40, int(left) : int(left) + 30] = 1
        if index == self.bad_pixel:
            image[0, 0, 0] = torch.nan
        return image, {
            "boxes": torch.tensor([[left, 10, left + 30, 40]]),
            "labels": torch.tensor([1]),
            "image_id": torch.tensor(100 + index),
        }


class Snapshots(pl.Callback):
    """State of the module and its optimizer before training and after each optimizer step."""

    def __init__(self) -> None:
        self.taken: list[Snapshot] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.taken.append(snapshot(trainer, pl_module))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == len(self.taken):
            self.taken.append(snapshot(trainer, pl_module))


def left_edge(picture: int) -> float:
    return 10.0 + picture


def snapshot(trainer: pl.Trainer, module: pl.LightningModule) -> Snapshot:
    return copy.deepcopy((module.state_dict(), trainer.optimizers[0].state_dict()["state"]))


def same(first: Any, second: Any) -> bool:
    """Whether two snapshots are equal bit for bit."""
    if isinstance(first, Tensor):
        # By their bytes: NaN equals NaN, and -0.0 is not 0.0.
        return (
            first.dtype == second.dtype and torch.equal(first.view(torch.uint8), second.view(torch.uint8))
            if (first.ndim)
            else same(first[None], second[None])
        )
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, tuple):
        return all(same(one, other) for one, other in zip(first, second, strict=True))
    return bool(first == second)


def only_unchanged(snapshots: list[Any]) -> list[int]:
    """The steps, counted from 1, that left everything bit for bit as it was."""
    pairs = enumerate(itertools.pairwise(snapshots), start=1)
    return [step for step, (before, after) in pairs if same(before, after)]


class OwnOptimizer(DetectionModule):
    """A module with an optimizer of its author's, made of the parameters."""

    make: ClassVar[Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]]

    def configure_optimizers(self) -> Any:
        return type(self).make(self.parameters())


class PlainAdamW(OwnOptimizer):
    make = partial(torch.optim.AdamW, lr=1e-3)


class FusedAdamW(OwnOptimizer):
    make = partial(torch.optim.AdamW, lr=1e-3, fused=True)


class FusedSGD(OwnOptimizer):
    """Fused, and without a momentum before its first step."""

    make = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, fused=True)


def detector() -> FasterRCNN:
    """A Faster R-CNN with a batch norm, so that it has running statistics."""
    model = faster_rcnn()
    layers = backbone()
    layers.insert(1, nn.BatchNorm2d(8))
    model.backbone = layers
    return model


def train_together(top: Path) -> None:
    """Train as one of two processes: on a bad value in the second process, then on a bad gradient in it.

    Of each training a process writes what the guard skipped, and its snapshots, into `top`.
    """
    warnings.simplefilter("default")  # what Lightning says of a trainer of one's own
    for what in ("value", "gradient"):
        guard, snapshots = Guard("skip"), Snapshots()
        run = trainer(top, guard, snapshots, devices=2, strategy="ddp")
        trained = module(FitConfig(lr=1e-3, schedule="constant"), picture=5, what=what, process=1)
        own = [0, 1, 2, 3, 4, 5, 6, 7] if run.global_rank == 1 else [0, 1, 2, 3, 4, 4, 6, 7]
        run.fit(trained, DataLoader(Subset(Pictures(8), own), batch_size=2, collate_fn=collate))
        torch.save([guard.skipped, snapshots.taken], top / f"{what}-{run.global_rank}.pt")


def module(
    fit: FitConfig | None = None, kind: type[DetectionModule] = DetectionModule, **broken: Any
) -> DetectionModule:
    torch.manual_seed(0)
    return kind(inject(detector(), {"roi_heads": BrokenLoss(**broken)}), fit or FitConfig(lr=1e-3, schedule="constant"))


def scaled_precision() -> MixedPrecision:
    """Mixed precision with a gradient scaler on a CPU: in bfloat16, as float16 has no convolutions on every CPU."""
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    precision.precision = "bf16-mixed"
    return precision


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        **{
            "max_epochs": 1,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            "callbacks": list(callbacks),
            "use_distributed_sampler": False,
            **options,
        }
    )


def loader(number: int = 8, bad_pixel: int = -1) -> DataLoader[Any]:
    """Batches of two pictures in order."""
    return DataLoader(Pictures(number, bad_pixel), batch_size=2, collate_fn=collate)


def guarded_run(
    folder: Path, fit: FitConfig, guard: Guard | None, batches: DataLoader[Any] | None = None, **broken: Any
) -> tuple[list[Snapshot], DetectionModule]:
    """Train one epoch and return the snapshots and the module."""
    snapshots, trained = Snapshots(), module(fit, **broken)
    callbacks = [snapshots] if guard is None else [guard, snapshots]
    run = trainer(
        folder,
        *callbacks,
        precision=fit.precision,
        gradient_clip_val=fit.clip,
        accumulate_grad_batches=fit.accumulate,
    )
    run.fit(trained, batches or loader())
    return snapshots.taken, trained
