"""The Lightning trainer of a run."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import loggers as pl_loggers

from detloss.errors import ConfigError
from detloss.training.callbacks import Curves, MetricsFile, Predictions, PredictionsImage
from detloss.training.checkpoints import AtomicCheckpointIO, Checkpoints, StepSeeds
from detloss.training.data.dataset import DetectionDataset
from detloss.training.folder import PREDICTIONS
from detloss.training.guard import Guard
from detloss.training.loss_weights import FarWeightWarning
from detloss.training.progress import Pace, Position, Progress
from detloss.training.settings import FitConfig

Shown = Literal["lines", "off"] | Callable[[Position], None]
"""How a run shows its progress: lines in the log, nothing, or a function that draws a bar."""


def build_trainer(
    fit: FitConfig, folder: Path, val: DetectionDataset, checkpoints: Checkpoints, progress: Shown
) -> pl.Trainer:
    """Make the trainer of one run.

    Args:
        fit: The section `train` of the config.
        folder: Where the run writes.
        val: Validation data; some of its images are drawn.
        checkpoints: Writes the checkpoints.
        progress: How it shows its progress.

    Raises:
        ConfigError: Lightning refuses a value, or a logger's package is not installed.
    """
    if progress not in ("lines", "off") and not callable(progress):
        raise ConfigError(f"progress is {progress!r}. Fix: give 'lines', 'off' or a function of a `Position`.")
    pace = Pace(fit.validate_every)
    metrics = MetricsFile(folder / "metrics.jsonl", fit.log_every, pace)
    callbacks: list[pl.Callback] = [
        StepSeeds(fit.seed),
        _LastEpochEvaluated(fit.validate_every),
        pace,
        metrics,
        Curves(folder),
        FarWeightWarning(),
        Predictions(folder / PREDICTIONS["val"], val),
    ]
    if fit.guard != "off":
        callbacks.append(Guard(fit.guard, metrics))
    if fit.pictures:
        callbacks.append(PredictionsImage(folder / "predictions.png", val, fit.pictures))
    if progress != "off":
        callbacks.append(Progress(pace, fit.log_every, progress if callable(progress) else None))
    try:
        return pl.Trainer(
            accelerator=fit.accelerator,
            devices=fit.devices,
            num_nodes=fit.num_nodes,
            strategy=fit.strategy,
            precision=fit.precision,
            max_epochs=fit.epochs,
            accumulate_grad_batches=fit.accumulate,
            gradient_clip_val=fit.clip,
            check_val_every_n_epoch=fit.validate_every,
            deterministic=fit.deterministic,
            callbacks=[*callbacks, checkpoints],
            plugins=[AtomicCheckpointIO()],
            logger=[_LOGGERS[name](folder) for name in fit.loggers] or False,
            log_every_n_steps=1,
            default_root_dir=folder,
            # The samplers of detloss.training.data.datamodule distribute the images themselves.
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        raise ConfigError(f"Lightning refuses the section `train`: {error}") from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's warnings about intended choices."""
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*exists and is not empty.*",
            ".*in eval mode at the start of training.*",
            ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
            ".*GPU available but not used.*",
            # A gradient scaler often skips the very first step while it searches its scale.
            ".*lr_scheduler.step\\(\\)` before `optimizer.step.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            lightning.setLevel(level)


_LOGGERS: Mapping[str, Any] = {
    "csv": lambda folder: pl_loggers.CSVLogger(folder, name="csv", version=""),
    "tensorboard": lambda folder: pl_loggers.TensorBoardLogger(folder, name="tensorboard", version=""),
    "wandb": lambda folder: pl_loggers.WandbLogger(save_dir=folder, name=folder.name),
    "mlflow": lambda folder: pl_loggers.MLFlowLogger(save_dir=str(folder / "mlflow"), run_name=folder.name),
}


class _LastEpochEvaluated(pl.Callback):
    """Evaluates after the last epoch, with any interval."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if last else self.every
