"""What averaging weights and sharing seeds are worth: AP of several averages over the same runs of the embedded config.

    python tests/benchmarks/averaging.py RESULTS [--losses smooth_l1,giou,ciou] [--seeds 8] [--schedule onecycle]

Trains every loss with every seed on synthetic images, in seed-major order, on one thread, and appends a JSON object a
run to the file RESULTS: the AP of the last weights, of exponential moving averages (``ema5``: with a time constant of
5 % of the steps), of the mean over the last steps (``tail20``: 20 %) or epochs (``epochs2``), and of the weights before
the end (``at90``: after 90 % of the steps; ``at90-100``: the mean AP after 90, 95 and 100 %). Runs that the file holds
are not run again. Buffers, the statistics of batch norm among them, are averaged like weights.

Prints for each: mean AP, its difference to the last weights, the standard deviation between seeds within a loss, its
ratio to that of the last weights (95 % interval of a bootstrap over seeds, too narrow where there are few), and the
intraclass correlation of runs that share a seed.

``averaging.jsonl`` beside this file holds the runs of 7 seeds: no average has less spread than the last weights beyond
chance without a lower mean, since the learning rate ends near zero; the correlation is 0.19 (95 %: -0.22 to 0.73), and
was 0.87 with the first 3 seeds.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from detloss.models import build_model
from detloss.training import DetectionModule, TrainConfig, collate, evaluate_boxes
from detloss.training.checkpoints import StepSeeds
from detloss.training.data.datamodule import DetectionData
from detloss.training.data.dataset import DetectionDataset
from detloss.training.data.sources import open_datasets, read_config, with_classes
from detloss.training.evaluation import Detections

MOVING = (1, 2, 5, 10)
"""Time constants of moving averages, in percent of all steps."""
TAILS = (5, 10, 20, 30)
"""Lengths of the tails whose weights are averaged, in percent of all steps."""
BEFORE = (80, 90, 95)
"""When the weights are tested before the end, in percent of all steps."""
EPOCHS = (2, 3)
"""Numbers of last epochs whose weights are averaged."""
State = dict[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--losses", default="smooth_l1,giou,ciou")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--schedule", default="onecycle")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    losses = options.losses.split(",")
    overrides = ["data.shapes.val=400", f"train.schedule={options.schedule}"]
    base = read_config(None, overrides)
    datasets = open_datasets(base)
    for seed, loss in itertools.product(range(options.seeds), losses):
        if not any((one["seed"], one["loss"]) == (seed, loss) for one in read(options.results)):
            config = read_config(base, [f"losses.roi_heads={loss}", f"train.seed={seed}"])
            result = {"seed": seed, "loss": loss, "AP": trained(with_classes(config, datasets["train"]), datasets)}
            with options.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
    print(table(read(options.results), losses))


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def trained(config: TrainConfig, datasets: Mapping[str, DetectionDataset]) -> dict[str, float]:
    """Train as `detloss train` does, and return the AP of each average."""
    torch.manual_seed(config.train.seed)
    module = DetectionModule(build_model(config), config.train)
    averages = Averages(datasets["val"])
    trainer = pl.Trainer(
        max_epochs=config.train.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StepSeeds(config.train.seed), averages],
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(module, DetectionData(config, datasets["train"], datasets["val"]))
    return averages.found


class Averages(pl.Callback):
    """Averages the state of a model in several ways while it is trained, and evaluates all at the end."""

    def __init__(self, data: DetectionDataset) -> None:
        self.data = data
        self.found: dict[str, float] = {}
        self.moving: dict[int, State] = {}
        self.sums: dict[int, State] = {}
        self.epochs: list[State] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        steps, step = int(trainer.estimated_stepping_batches), trainer.global_step
        state = floats(pl_module.model)
        for percent in MOVING:
            # At first a plain mean, as in Lightning's and torch's averages with a warm-up.
            decay = min(1 - 100 / (percent * steps), (1 + step) / (10 + step))
            average = self.moving.setdefault(percent, {key: value.clone() for key, value in state.items()})
            for key, value in state.items():
                average[key].lerp_(value, 1 - decay)
        for percent in TAILS:
            if step > steps * (1 - percent / 100):
                total = self.sums.setdefault(percent, {key: torch.zeros_like(value) for key, value in state.items()})
                for key, value in state.items():
                    total[key] += value / round(steps * percent / 100)
        for percent in BEFORE:
            if step == round(steps * percent / 100):
                self.found[f"at{percent}"] = self.ap(pl_module.model, {})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.epochs.append({key: value.clone() for key, value in floats(pl_module.model).items()})

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        states = {"last": {}} | {f"ema{percent}": state for percent, state in self.moving.items()}
        states |= {f"tail{percent}": state for percent, state in self.sums.items()}
        for many in EPOCHS:
            last = self.epochs[-many:]
            states[f"epochs{many}"] = {key: sum(state[key] for state in last) / many for key in last[0]}
        self.found |= {name: self.ap(pl_module.model, state) for name, state in states.items()}

    def ap(self, model: nn.Module, state: State) -> float:
        """AP of a model with some of its state replaced."""
        model = copy.deepcopy(model).eval()
        model.load_state_dict({**model.state_dict(), **state})
        found = []
        for index in range(len(self.data)):
            images, _ = collate([self.data[index]])
            with torch.no_grad():
                found.append(Detections.from_output(index + 1, model(images)[0]))
        return evaluate_boxes(self.data.coco, found)["AP"]


def floats(model: nn.Module) -> State:
    return {key: value for key, value in model.state_dict().items() if value.is_floating_point()}


def table(results: list[dict[str, Any]], losses: list[str]) -> str:
    """What the runs tell, on the seeds that all losses have."""
    by_run = {(one["seed"], one["loss"]): one["AP"] for one in results}
    seeds = [seed for seed in sorted({seed for seed, _ in by_run}) if all((seed, loss) in by_run for loss in losses)]
    aps = {
        name: np.array([[by_run[seed, loss][name] for loss in losses] for seed in seeds])
        for name in by_run[seeds[0], losses[0]]
    }
    last = aps["last"]
    aps["at90-100"] = (aps["at90"] + aps["at95"] + last) / 3
    means = ", ".join(f"{loss} {ap:.4f}" for loss, ap in zip(losses, last.mean(axis=0), strict=True))
    lines = [f"{len(seeds)} seeds; mean AP of the last weights: {means}"]
    random = np.random.default_rng(0)
    for name, values in aps.items():
        shift = (values - last).mean(axis=1)
        again = [random.integers(0, len(seeds), len(seeds)) for _ in range(2000)]
        ratios = [spread(values[rows]) / spread(last[rows]) for rows in again if len(set(rows)) > 1]
        low, high = np.quantile(ratios, [0.025, 0.975])
        lines.append(
            f"{name:<9} AP {values.mean():.4f}, {shift.mean():+.4f} (standard error "
            f"{shift.std(ddof=1) / len(seeds) ** 0.5:.4f}); between seeds {spread(values):.4f}, "
            f"x {spread(values) / spread(last):.2f} [{low:.2f}, {high:.2f}]; correlation {correlation(values):+.2f}"
        )
    return "\n".join(lines)


def spread(values: npt.NDArray[np.float64]) -> float:
    """Standard deviation between seeds within a loss, pooled over losses; ``(seeds, losses)``."""
    return float(values.var(axis=0, ddof=1).mean() ** 0.5)


def correlation(values: npt.NDArray[np.float64]) -> float:
    """Intraclass correlation ICC(3,1) of runs that share a seed (Shrout & Fleiss 1979)."""
    seeds, losses = values.shape
    centered = values - values.mean(axis=0)
    between = losses * (centered.mean(axis=1) ** 2).sum() / (seeds - 1)
    rest = ((centered - centered.mean(axis=1, keepdims=True)) ** 2).sum() / ((seeds - 1) * (losses - 1))
    return float((between - rest) / (between + (losses - 1) * rest))


if __name__ == "__main__":
    main()
