"""What a run of detloss costs beside a plain training loop: same model, data, batches and optimizer, in turns.

    python tests/benchmarks/training.py [--rounds 10] [--steps 20] [--workers 0] [--model default]

Without a GPU it trains a small detector (that of `detloss train`) and torchvision's mobilenet_v3_large_320_fpn, and
prints the seconds of a step that this process computes, which other programs change little. With a GPU it trains
fasterrcnn_resnet50_fpn_v2 at 320 and 800 px, and prints images per second. The ratio is that of each round; 1.02 is
wanted. The plain loop does what torchvision's references do in a step: it moves images of floats to the device,
computes the losses, checks that they are finite, steps the optimizer and the learning rate, and logs both. It uses
torchvision's own loss; the run of detloss has GIoU in its box head, the guard and its files.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader

from detloss.models import build_model
from detloss.training import TrainConfig, collate, default_config, train
from detloss.training.data.datamodule import AugmentedDataset, EpochSampler
from detloss.training.data.dataset import scaled
from detloss.training.data.sources import open_datasets, read_config, with_classes
from detloss.training.progress import Position

WARM_UP = 3
"""First steps of each turn that are not counted."""
DEFAULT = yaml.safe_load(default_config())
ON_CPU: dict[str, dict[str, Any]] = {
    "default of `detloss train`, 16 images of 96 px": {
        **{key: DEFAULT[key] for key in ("model", "backbone", "options")},
        "batch": 16,
        "size": 96,
    },
    "mobilenet_v3_large_320_fpn, 4 images of 320 px": {
        "model": "fasterrcnn_mobilenet_v3_large_320_fpn",
        "batch": 4,
        "size": 320,
    },
}
ON_GPU: dict[str, dict[str, Any]] = {
    f"resnet50_fpn_v2, 16 images of {size} px": {
        "model": "fasterrcnn_resnet50_fpn_v2",
        "options": {"min_size": size, "max_size": 2 * size},
        "batch": 16,
        "size": size,
    }
    for size in (320, 800)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each loop")
    parser.add_argument("--steps", type=int, default=20, help="measured steps a turn")
    parser.add_argument("--workers", type=int, default=8 if torch.cuda.is_available() else 0, help="load images")
    parser.add_argument("--model", default="", help="part of the name of the measured models")
    parser.add_argument("--loss", default="giou", help="loss of the box head in the run of detloss; stock for none")
    parser.add_argument("--precision", default="32-true", help="Lightning's name; the plain loop uses torch.autocast")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric", "lightning_utilities"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    for name, model in (ON_GPU if torch.cuda.is_available() else ON_CPU).items():
        if options.model not in name:
            continue
        config = configured(model, options)
        loops = {"plain": plain, "detloss": ours}
        seconds: dict[str, list[float]] = {loop: [] for loop in loops}
        for turn in range(options.rounds):
            for loop in sorted(loops, reverse=bool(turn % 2)):
                seconds[loop].append(loops[loop](config))
        report(name, seconds, config.train.batch_size)


def configured(model: dict[str, Any], options: argparse.Namespace) -> TrainConfig:
    """The config of one turn: a single epoch."""
    batch, size = model["batch"], model["size"]
    shapes = {"train": batch * (WARM_UP + options.steps), "val": 1, "size": size}
    return read_config(
        {
            **{key: value for key, value in model.items() if key not in ("batch", "size")},
            "losses": {} if options.loss == "stock" else {"roi_heads": options.loss},
            "data": {"shapes": shapes, "workers": options.workers},
            "train": {
                "epochs": 1,
                "batch_size": batch,
                "optimizer": "sgd",
                "lr": 1e-3,
                "schedule": "constant",
                "precision": options.precision,
                "pictures": 0,
                "devices": 1,
            },
        }
    )


def ours(config: TrainConfig) -> float:
    """Seconds of a step in a run of detloss."""
    clock = Clock()

    def show(position: Position) -> None:
        if position.evaluated is None:
            clock.tick(position.step)

    with tempfile.TemporaryDirectory() as folder:
        train(config, output=Path(folder) / "run", progress=show)
    return clock.seconds_a_step


def plain(config: TrainConfig) -> float:
    """Seconds of a step in a loop in the style of torchvision's references."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    data = open_datasets(config)["train"]
    torch.manual_seed(config.train.seed)
    model = build_model(with_classes(config, data).model_copy(update={"losses": {}})).to(device).train()
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(parameters, config.train.lr, config.train.momentum, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    scaler = torch.amp.GradScaler(device.type, enabled=config.train.precision == "16-mixed")
    half = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(config.train.precision)
    loader = DataLoader(
        AugmentedDataset(data, config.data.augment, config.train.seed),
        batch_size=config.train.batch_size,
        sampler=EpochSampler(len(data), seed=config.train.seed),
        num_workers=config.data.workers,
        collate_fn=of_floats,
        pin_memory=on_gpu,
    )
    clock, logged = Clock(), []
    for step, batch in enumerate(loader, start=1):
        images = [image.to(device) for image in batch[0]]
        targets = [{key: value.to(device) for key, value in target.items()} for target in batch[1]]
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            losses = model(images, targets)
            total = sum(losses.values())
        value = total.item()
        if not math.isfinite(value):
            raise SystemExit(f"The loss is {value}.")
        optimizer.zero_grad()
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        logged.append({name: float(loss.detach()) for name, loss in losses.items()} | {"lr": schedule.get_last_lr()[0]})
        clock.tick(step)
    return clock.seconds_a_step


def of_floats(items: list[Any]) -> Any:
    return collate([(scaled(image), target) for image, target in items])


class Clock:
    """Measures the steps after the first ones: on a CPU the time that this process computes."""

    def __init__(self) -> None:
        self._on_gpu = torch.cuda.is_available()
        self._now: Callable[[], float] = time.perf_counter if self._on_gpu else time.process_time
        self._ticks: list[tuple[int, float]] = []

    def tick(self, step: int) -> None:
        """A step is done."""
        if step >= WARM_UP:
            if self._on_gpu and not self._ticks:
                torch.cuda.synchronize()
            self._ticks.append((step, self._now()))

    @property
    def seconds_a_step(self) -> float:
        """Mean of the steps between the first and the last tick."""
        (first, begun), (last, ended) = self._ticks[0], self._ticks[-1]
        return (ended - begun) / (last - first)


def report(name: str, seconds: dict[str, list[float]], batch: int) -> None:
    ratios = sorted(ours / theirs for ours, theirs in zip(seconds["detloss"], seconds["plain"], strict=True))
    print(name)
    for loop, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"  {loop:>8}: median {1e3 * middle:8.2f} ms a step, {batch / middle:7.1f} images/s")
    print(f"  ratio: median {statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
