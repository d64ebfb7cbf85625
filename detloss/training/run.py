"""`train`: from a config to a folder with all results."""

import json
import logging
import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch

from detloss.errors import ConfigError, DataError, DetlossError, NonFiniteError
from detloss.models import build_model
from detloss.models.architecture import REFUSALS
from detloss.text import one_line
from detloss.training.banner import banner
from detloss.training.callbacks import read_metrics, write_curves
from detloss.training.checkpoints import Checkpoints, Interrupted, StopRequestedError
from detloss.training.data.datamodule import DetectionData, loading_failure
from detloss.training.data.dataset import DetectionDataset
from detloss.training.data.sources import Source, open_datasets, read_config, with_classes
from detloss.training.folder import (
    PREDICTIONS,
    check_places,
    config_of,
    final_metrics,
    holds_files,
    is_whole,
    locked,
    origins,
    write_predictions,
    write_start,
    write_text,
)
from detloss.training.module import DetectionModule
from detloss.training.provenance import write_provenance
from detloss.training.resuming import broken, read_last, restore_best, resumed_folder
from detloss.training.settings import TrainConfig, absolute
from detloss.training.trained import card_of
from detloss.training.trainer import Shown, build_trainer, quiet_lightning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    folder: Path
    """The folder with config.yaml, best.ckpt, last.ckpt, metrics.json and more: `detloss.training.folder.FILES`."""
    metrics: dict[str, Any]
    """COCO's numbers: ``best`` and ``last`` of validation, with epoch and losses; ``test`` if there is test data.

    ``checkpoint`` names the checkpoint of each, ``sha256`` its hash.
    """
    is_main: bool = True
    """False in the further processes of a distributed run."""


def train(
    config: Source | None = None,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Shown = "lines",
) -> TrainResult:
    """Train a detector as a config says.

    Args:
        config: A file, a mapping or a `TrainConfig`; None is the embedded default, or with `resume` the run's own.
        output: Folder of the run, new or empty; by default ``runs/<name>-<time>``. Paths in a mapping or in
            `overrides` are relative to the current folder, in a file to the file's folder.
        resume: Folder of an interrupted run, or its last.ckpt, to continue to the same weights as if it had not been
            interrupted.
        overrides: ``key.path=value`` settings on top of the config.
        progress: Lines in the log (logger ``detloss.training``), nothing, or a function that gets a `Position` a few
            times a second, to draw a bar.

    Returns:
        Where the run is, and its final metrics.

    Raises:
        ConfigError: the config or its request is wrong.
        DataError: the data cannot be read.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; `resume` continues.
        NonFiniteError: a loss or a gradient became NaN or infinite (`guard` in the section `train`).
        DetlossError: a file of the run cannot be written, for example to a full disk.
    """
    folder, settings = _prepared(config, output, resume, overrides)
    settings, datasets, module = _built(settings)
    data = DetectionData(settings, datasets["train"], datasets["val"], datasets.get("test"))
    with quiet_lightning(), ExitStack() as until_the_end:
        if settings.train.threads is not None:
            until_the_end.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(settings.train.threads)
        checkpoints = Checkpoints(folder, settings.train.checkpoint_every)
        trainer = build_trainer(settings.train, folder, data.val, checkpoints, progress)
        # In every process: some of Lightning's strategies read it without torch's guard.
        last = read_last(folder, module)
        if trainer.is_global_zero:
            try:
                until_the_end.enter_context(locked(folder))
                if last is not None:
                    restore_best(folder, last, module)
                write_start(folder, settings, datasets)
                write_provenance(folder, settings, datasets, module, trainer)
            except OSError as error:
                way_out = "Fix: choose another output folder." if resume is None else "Fix: free the folder."
                raise ConfigError(
                    f"{error.filename or folder} cannot be written: {error.strerror}. {way_out}"
                ) from error
            if progress != "off":
                log.info("%s", banner(settings, module, datasets, trainer, folder))
        try:
            _fit(trainer, module, data, checkpoints, folder / "last.ckpt" if last is not None else None)
            if last is not None and not checkpoints.started and trainer.is_global_zero:
                log.info("%s", _finished(folder, settings.train.epochs))
            metrics = _final_metrics(folder, trainer, module, data)
        except (StopRequestedError, SystemExit):
            if checkpoints.stop_requested:
                raise Interrupted(folder) from None
            raise
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}\n{_ways_on(folder)}") from None
        except Exception as error:
            way_on = f"resume from {_start(folder)}:\n  {_again(folder)}"
            if failure := loading_failure(error):
                raise DataError(f"{failure}\nThen {way_on}") from None
            if isinstance(error, OSError) and Path(str(error.filename)).is_relative_to(folder):
                raise DetlossError(
                    f"{error.filename} cannot be written: {error.strerror}. Earlier files are intact. "
                    f"Fix the problem, then {way_on}"
                ) from error
            raise
        return TrainResult(folder, metrics, is_main=trainer.is_global_zero)


def check_run(config: Source, overrides: Sequence[str] = ()) -> None:
    """Try the start of `train` without writing anything.

    Raises:
        ConfigError: the config or its request is wrong, weights are missing, or Lightning refuses a value.
        DataError: the data cannot be read.
    """
    settings, datasets, _ = _built(read_config(config, overrides))
    with quiet_lightning(), TemporaryDirectory() as folder:
        build_trainer(settings.train, Path(folder), datasets["val"], Checkpoints(Path(folder), None), "off")


def _built(settings: TrainConfig) -> tuple[TrainConfig, dict[str, DetectionDataset], DetectionModule]:
    """Read the data and build the model.

    The settings come back with the number of classes.
    """
    datasets = open_datasets(settings)
    settings = with_classes(settings, datasets["train"])
    torch.manual_seed(settings.train.seed)
    model = build_model(settings)
    if settings.train.channels_last:
        # The first convolution brings the images into the layout of its weights.
        model.to(memory_format=torch.channels_last)
    card = card_of(model, datasets["train"], settings.data.pixel_range)
    module = DetectionModule(model, settings.train, card.model_dump(), logs=bool(settings.train.loggers))
    return settings, datasets, module


def _prepared(
    source: Source | None, output: str | Path | None, resume: str | Path | None, overrides: Sequence[str]
) -> tuple[Path, TrainConfig]:
    """The run's folder and its validated config with absolute paths."""
    if resume is not None:
        folder = resumed_folder(Path(absolute(str(resume))))
        if source is not None or output is not None:
            raise ConfigError("A resumed run keeps its config and folder. Fix: remove config and output.")
        file = config_of(folder)
        check_places(folder)
        return folder, read_config(file, overrides)
    name = "shapes" if source is None else Path(source).stem if isinstance(source, (str, Path)) else "run"
    config = read_config(source, overrides)
    folder = Path(absolute(str(output or f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}")))
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file. Fix: choose another output folder.")
    # Lightning starts the other processes of this machine after the first one starts to write.
    if int(os.environ.get("LOCAL_RANK", "0")) == 0 and folder.exists():
        check_places(folder)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0 and folder.exists() and holds_files(folder):
        raise ConfigError(
            f"{folder} is not empty. Fix: choose another output folder, or continue the run in it: `resume` in Python, "
            "--resume on the command line."
        )
    return folder, config


def _fit(
    trainer: pl.Trainer, module: DetectionModule, data: DetectionData, checkpoints: Checkpoints, last: Path | None
) -> None:
    try:
        trainer.fit(module, data, ckpt_path=last)
    except DetlossError:
        raise
    except (*REFUSALS, AttributeError) as error:
        if last is None or checkpoints.started:
            raise
        raise broken(last, f"is not a file of a run ({type(error).__name__}: {one_line(error)})") from error


def _ways_on(folder: Path) -> str:
    again = _again(folder)
    return (
        f"Fix: resume from {_start(folder)} with one of:\n"
        f"  {again} --set train.guard=skip       skips such steps\n"
        f"  {again} --set losses.HEAD=LOSS       uses another loss in a head named above\n"
        f"  {again} --set train.lr=...           takes smaller steps, if the predictions are not finite"
    )


def _finished(folder: Path, epochs: int) -> str:
    return (
        f"This run is finished: it has trained all {epochs} epochs. Lost files are written again. "
        f"To train longer:\n  {_again(folder)} --set train.epochs={2 * epochs}"
    )


def _start(folder: Path) -> str:
    return "the last checkpoint" if (folder / "last.ckpt").exists() else "the start (there is no checkpoint yet)"


def _again(folder: Path) -> str:
    return f"detloss train --resume {shlex.quote(str(folder))}"


def _final_metrics(folder: Path, trainer: pl.Trainer, module: DetectionModule, data: DetectionData) -> dict[str, Any]:
    """Evaluate on the test data, and write the final numbers."""
    wanted = [PREDICTIONS["val"], *["predictions.png"] * bool(module.config.pictures)]
    # A finished run may have lost them.
    if trainer.strategy.broadcast(not all(is_whole(folder / name) for name in wanted)):
        trainer.validate(module, data, verbose=False)
    if trainer.is_global_zero and not is_whole(folder / "curves.png"):
        write_curves(folder)
    test: dict[str, float] = {}
    selected = f"{module.config.select}.ckpt"
    if data.test is not None:
        trainer.test(module, data, ckpt_path=folder / selected, verbose=False)
        test = module.metrics
        if trainer.is_global_zero:
            write_predictions(folder / PREDICTIONS["test"], module.detections.values(), data.test.annotations)
    metrics = final_metrics(read_metrics(folder / "metrics.jsonl"), test)
    if trainer.is_global_zero:
        metrics |= origins(folder, None if data.test is None else selected)
        write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics
