"""What the guard costs: steps of a Faster R-CNN in Lightning with the guard off, on `raise` and on `skip`, interleaved.

    python tests/benchmarks/guard.py [--rounds 6] [--steps 8] [--size 320] [--device cpu]

Prints the time of a step in each mode (on a CPU the time that this process computes, which other programs change
little), and how often a step asks the device for a number and so waits for it: as torch dispatches it, and on a GPU as
CUDA itself reports it. The modes take turns, in changing order, and start from the same weights.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import time
import warnings
from collections import Counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from detloss import inject
from detloss.training import DetectionModule, FitConfig, Guard, collate

MODES = ("off", "raise", "skip")
WARM_UP = 2
"""Steps at the start of each round that are not counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="turns of each mode")
    parser.add_argument("--steps", type=int, default=8, help="measured steps a turn")
    parser.add_argument("--size", type=int, default=320, help="shorter side of the images in pixels")
    parser.add_argument("--batch", type=int, default=4, help="images a step")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "sgd"))
    options = parser.parse_args()
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    torch.manual_seed(0)
    stock = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=options.size, trainable_backbone_layers=6
    )
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    asked: dict[str, list[int]] = {mode: [] for mode in MODES}
    for turn in range(options.rounds):
        for mode in MODES[turn % 3 :] + MODES[: turn % 3]:
            steps = Steps(options.device == "cuda")
            train(stock, mode, options, options.steps, steps)
            seconds[mode] += steps.seconds[WARM_UP:]
    for mode in MODES:
        with Asked() as counter:
            train(stock, mode, options, 1, Steps(synchronise=False))
        asked[mode] = [counter.counts["_local_scalar_dense"]]
        if options.device == "cuda":
            asked[mode].append(waits(stock, mode, options))
    print(f"{options.batch} images of {options.size} px on {options.device}, {options.optimizer}")
    base = statistics.median(seconds["off"])
    for mode in MODES:
        median, fastest = statistics.median(seconds[mode]), min(seconds[mode])
        print(
            f"{mode:>6}: median {1e3 * median:8.2f} ms ({100 * (median / base - 1):+.2f} %), fastest "
            f"{1e3 * fastest:8.2f} ms; numbers asked of the device in {1 + WARM_UP} steps: {asked[mode][0]}"
            + (f", waits that CUDA reports: {asked[mode][1]}" if len(asked[mode]) > 1 else "")
        )


def train(stock: torch.nn.Module, mode: str, options: argparse.Namespace, steps: int, timer: pl.Callback) -> None:
    fit = FitConfig(optimizer=options.optimizer, lr=1e-6, schedule="constant")
    module = DetectionModule(inject(copy.deepcopy(stock), {"roi_heads": "giou"}), fit)
    data = OneBatch(options.batch * (WARM_UP + steps), options.size)
    # The timer is first and last of the callbacks.
    callbacks = [timer, *([] if mode == "off" else [Guard(mode)]), timer.end]
    pl.Trainer(
        max_epochs=1,
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(data, batch_size=options.batch, collate_fn=collate))


def waits(stock: torch.nn.Module, mode: str, options: argparse.Namespace) -> int:
    """How often CUDA says that a call waits for the device."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train(stock, mode, options, 1, Steps(synchronise=False))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


class OneBatch(Dataset[Any]):
    """The same picture again and again."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        generator = torch.Generator().manual_seed(0)
        self.image = torch.rand(3, size, size * 4 // 3, generator=generator)

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        boxes = torch.tensor([[10.0, 10.0, 90.0, 120.0], [60.0, 40.0, 200.0, 160.0]])
        return self.image, {"boxes": boxes, "labels": torch.tensor([1, 2]), "image_id": torch.tensor(index)}


class Steps(pl.Callback):
    """Seconds of each step, from before the first callback to after the last."""

    def __init__(self, synchronise: bool) -> None:
        self.seconds: list[float] = []
        self.synchronise = synchronise
        self.clock = time.perf_counter if synchronise else time.process_time
        self.end = _End(self)

    def on_train_batch_start(self, *_: Any) -> None:
        self._begun = self.clock()


class _End(pl.Callback):
    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_train_batch_end(self, *_: Any) -> None:
        if self.steps.synchronise:
            torch.cuda.synchronize()
        self.steps.seconds.append(self.steps.clock() - self.steps._begun)


class Asked(TorchDispatchMode):
    """Counts what torch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


if __name__ == "__main__":
    main()
