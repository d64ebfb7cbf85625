"""What a run writes besides its checkpoints: metrics as JSON lines, pictures of predictions, progress in the log."""

# ruff: noqa: ARG002 - Lightning calls its hooks with all of their arguments

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from detloss.training.data.dataset import DetectionDataset
from detloss.training.drawing import draw_predictions
from detloss.training.folder import write_predictions, write_text, write_whole, writing
from detloss.training.module import DetectionModule

__all__ = ["LogProgress", "MetricsFile", "PredictionPictures", "Predictions", "read_metrics"]

log = logging.getLogger(__name__)


class MetricsFile(pl.Callback):
    """Appends one JSON object a line: losses every `every` steps, COCO's numbers after every evaluation.

    A resumed run first drops the lines that its checkpoint knows nothing of.

    Args:
        path: The file.
        every: Steps between two lines of losses.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go back to where the checkpoint is."""
        if trainer.is_global_zero and trainer.state.fn == "fit":
            lines = [line for line in read_metrics(self.path) if line["step"] <= checkpoint["global_step"]]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the losses of this step."""
        stepped = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_global_zero and stepped and trainer.global_step % self.every == 0:
            losses = {f"train/{name}": float(value) for name, value in outputs["losses"].items()}
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.append(trainer, {**losses, "train/loss": sum(losses.values()), "train/lr": rate})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the evaluation's numbers."""
        if trainer.is_global_zero and not trainer.sanity_checking and isinstance(pl_module, DetectionModule):
            self.append(trainer, {f"val/{name}": value for name, value in pl_module.metrics.items()})

    def append(self, trainer: pl.Trainer, values: Mapping[str, float]) -> None:
        """Write a line of the current epoch and step.

        Args:
            trainer: Knows both.
            values: What else the line holds; null is written where a value is NaN or infinite.
        """
        # JSON has no NaN and no infinity.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"epoch": trainer.current_epoch, "step": trainer.global_step, **finite}
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            # One short write: a kill leaves the line or nothing.
            file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The objects of a metrics file, in order; none if there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


class PredictionPictures(pl.Callback):
    """After every evaluation, draws the first validation pictures: ground truth left, predictions right.

    Args:
        path: The PNG file.
        dataset: The validation data.
        number: How many pictures.
    """

    def __init__(self, path: Path, dataset: DetectionDataset, number: int) -> None:
        self.path, self.dataset, self.number = path, dataset, min(number, len(dataset))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw them."""
        if not trainer.is_global_zero or trainer.sanity_checking or not isinstance(pl_module, DetectionModule):
            return
        # Spread over the data set: neighbours are often alike.
        indices = [turn * len(self.dataset) // self.number for turn in range(self.number)]
        found = [index for index in indices if index + 1 in pl_module.detections]
        if found:
            picture = draw_predictions(self.dataset, [pl_module.detections[index + 1] for index in found])
            write_whole(self.path, picture.save)


class Predictions(pl.Callback):
    """Writes the detections of the last epoch's evaluation as COCO results.

    They are on disk before the last checkpoint is: a run that is killed between the two evaluates once more when it is
    resumed, and one that is killed later has them.

    Args:
        path: The JSON file.
        dataset: The validation data.
    """

    def __init__(self, path: Path, dataset: DetectionDataset) -> None:
        self.path, self.dataset = path, dataset

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write them."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.is_global_zero and not trainer.sanity_checking and last and isinstance(pl_module, DetectionModule):
            write_predictions(self.path, pl_module.detections.values(), self.dataset.annotations)


class LogProgress(pl.Callback):
    """Logs a line every `seconds` and after every evaluation: progress where there is no terminal to draw a bar on.

    Args:
        seconds: Least time between two lines of losses.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self._next = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._next = time.monotonic() + self.seconds

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log where training is."""
        if trainer.is_global_zero and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.seconds
            batches = f"batch {batch_idx + 1}/{trainer.num_training_batches}"
            log.info("%s, %s: loss %.4f", _epoch(trainer), batches, float(outputs["loss"]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the evaluation's main numbers."""
        if trainer.is_global_zero and not trainer.sanity_checking and isinstance(pl_module, DetectionModule):
            numbers = ", ".join(f"{name} {pl_module.metrics[name]:.3f}" for name in ("AP", "AP50", "AP75"))
            log.info("%s: %s", _epoch(trainer), numbers)


def _epoch(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
