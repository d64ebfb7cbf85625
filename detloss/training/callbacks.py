"""The files that a run writes besides its checkpoints."""

# ruff: noqa: ARG002 - Lightning calls its hooks with all of their arguments

import json
import logging
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import index
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from detloss.errors import ConfigError
from detloss.training.curves import draw_curves
from detloss.training.data.dataset import DetectionDataset
from detloss.training.folder import write_predictions, write_text, write_whole, writing
from detloss.training.predictions_image import draw_predictions
from detloss.training.progress import Pace, is_step, trains

log = logging.getLogger(__name__)


class MetricsFile(Callback):
    """Appends losses and COCO's numbers to a file of JSON lines.

    Losses come every `every` steps, COCO's numbers after every evaluation.

    A resumed run first drops the lines after its checkpoint. The checkpoint holds the evaluations too: if the file lost
    them, they are written again.

    Args:
        path: The file.
        every: Steps between two lines of losses.
        pace: Measures the images per second; None for no such value.
    """

    def __init__(self, path: Path, every: int, pace: Pace | None = None) -> None:
        self.path, self.every, self.pace = path, every, pace
        self.evaluations: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """The evaluations so far."""
        return {"evaluations": self.evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the evaluations."""
        self.evaluations = state_dict["evaluations"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go back to the checkpoint's step."""
        if trainer.is_global_zero and self.path.exists():
            self._write([line for line in read_metrics(self.path) if line["step"] <= trainer.global_step])
        self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write lost evaluations again."""
        lines = read_metrics(self.path) if trainer.is_global_zero else self.evaluations
        found = [line for line in lines if "val/AP" in line]
        if lost := [line for line in self.evaluations if line not in found]:
            log.warning("%s lost lines: evaluations come from the checkpoint, training losses are lost.", self.path)
            self._write(sorted([*lines, *lost], key=lambda line: int(line["step"])))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the losses of this step."""
        if trainer.is_global_zero and is_step(trainer, batch_idx) and trainer.global_step % self.every == 0:
            losses = {f"train/{name}": float(value) for name, value in outputs["losses"].items()}
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            speed = {"images_per_second": round(self.pace.images_a_second, 2)} if self.pace else {}
            self.append(trainer, {**losses, "train/loss": sum(losses.values()), "train/lr": rate, **speed})

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the evaluation's numbers."""
        if trainer.is_global_zero and trains(trainer):
            line = self.append(trainer, {f"val/{name}": value for name, value in pl_module.metrics.items()})
            self.evaluations.append(line)

    def append(self, trainer: Trainer, values: Mapping[str, float]) -> dict[str, Any]:
        """Write a line of the current epoch, and return its content.

        It has the epoch (from 1), step, time and peak memory.

        Args:
            trainer: Knows epoch and step.
            values: The other values of the line; NaN and infinity are written as null.
        """
        # JSON has no NaN and no infinity.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            **finite,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "memory_mib": _peak_memory(trainer.strategy.root_device),
        }
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            # One short write: a kill leaves the line or nothing.
            file.write(json.dumps(line) + "\n")
        return line

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The objects of a metrics file, in order; empty without a file.

    Raises:
        ConfigError: it has other content; only the last line may be incomplete.
    """
    lines: list[dict[str, Any]] = []
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    for number, each in enumerate(text.splitlines(keepends=True), start=1):
        try:
            line = json.loads(each)
            index(line["epoch"]), index(line["step"]), float(line.get("val/AP", 0))
            lines.append(line)
        except (ValueError, TypeError, LookupError, RecursionError):
            if each.startswith("{") and not each.endswith("\n"):
                break
            raise ConfigError(
                f"{path}:{number}: is not a line of a run's metrics. Fix: move the file away. A resumed run then "
                "writes its evaluations again from its checkpoint. Only training losses are lost."
            ) from None
    return lines


def write_curves(folder: Path) -> None:
    """Draw the metrics of a run that has evaluated, ``curves.png``."""
    lines = read_metrics(folder / "metrics.jsonl")
    write_whole(folder / "curves.png", lambda part: draw_curves(lines, part))


class Curves(Callback):
    """Draws the losses and the AP of a run after every evaluation.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them."""
        if trainer.is_global_zero and trains(trainer):
            write_curves(self.folder)


class PredictionsImage(Callback):
    """Draws predictions over ground truth after every evaluation.

    Args:
        path: The PNG file.
        dataset: The validation data.
        number: How many images.
    """

    def __init__(self, path: Path, dataset: DetectionDataset, number: int) -> None:
        self.path, self.dataset, self.number = path, dataset, number

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw them."""
        if trainer.is_global_zero and pl_module.detections:
            image = draw_predictions(self.dataset, pl_module.detections.values(), self.number)
            write_whole(self.path, image.save)


class Predictions(Callback):
    """Writes the detections of the last epoch's evaluation as COCO results.

    They are written before the last checkpoint. A run that is killed between the two evaluates again when it resumes.

    Args:
        path: The JSON file.
        dataset: The validation data.
    """

    def __init__(self, path: Path, dataset: DetectionDataset) -> None:
        self.path, self.dataset = path, dataset

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write them."""
        last = not trains(trainer) or trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.is_global_zero and last:
            write_predictions(self.path, pl_module.detections.values(), self.dataset.annotations)


def _peak_memory(device: torch.device) -> int | None:
    """Peak MiB of GPU memory, or of this process; None on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - Windows has none

    # macOS counts bytes, others KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
