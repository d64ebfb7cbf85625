"""Calibrates weights of losses when training starts."""

# ruff: noqa: ARG002 - Lightning calls its hooks with all of their arguments

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from detloss.calibration import Calibration, far_weights, measuring
from detloss.errors import ConfigError
from detloss.injection import injected
from detloss.models import build_model
from detloss.training.data.datamodule import AugmentedDataset, EpochSampler
from detloss.training.data.dataset import DetectionDataset, Target, collate, scaled
from detloss.training.data.sources import Source, open_datasets, read_config, with_classes
from detloss.training.settings import TrainConfig

log = logging.getLogger(__name__)

Batch = tuple[list[Tensor], list[Target]]


def model_and_batches(
    config: Source | None = None, overrides: Sequence[str] = (), batches: int = 4
) -> tuple[nn.Module, Iterator[Batch]]:
    """Build the detector and batches for `detloss.calibrate` from a config.

    Both are on the config's device, the first one if there are several.

    Args:
        config: A file, a mapping or a `TrainConfig`; None is the embedded default.
        overrides: ``key.path=value`` settings on top of the config.
        batches: How many.

    Raises:
        ConfigError: the config or its request is wrong, or it names no loss.
        DataError: the data cannot be read.
    """
    settings = read_config(config, overrides)
    return model_on(settings, open_datasets(settings)["train"], batches)


def model_on(settings: TrainConfig, data: DetectionDataset, batches: int) -> tuple[nn.Module, Iterator[Batch]]:
    """`model_and_batches` for open training data."""
    settings = with_classes(settings, data)
    torch.manual_seed(settings.train.seed)
    model = build_model(settings)
    if not injected(model):
        raise ConfigError("The config names no loss, so there is no weight to measure. Fix: fill its section `losses`.")
    device = "cuda" if settings.train.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    return model.to(device), itertools.islice(_batches(settings, data, device), batches)


class FarWeightWarning(Callback):
    """Warns once of each weight far from equalizing the gradients.

    Only weights that you set are measured.

    The first steps of the first epoch are measured, until every such loss has had a match.
    """

    def __init__(self) -> None:
        self._measuring = ExitStack()
        self._seen: dict[tuple[str, int], list[Calibration]] = {}
        self._wanted: set[tuple[str, int]] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure, unless the run is resumed or sets no weight."""
        self._wanted = {
            (head, index)
            for head, losses in injected(pl_module).items()
            for index, term in enumerate(losses.terms)
            if term.explicit
        }
        if self._wanted and trainer.is_global_zero and trainer.global_step == 0:
            self._seen = self._measuring.enter_context(measuring(pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Stop when everything is measured."""
        if self._wanted and self._wanted <= self._seen.keys():
            self._end()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop measuring: some loss had no match in a whole epoch."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop silently."""
        self._seen = {}
        self._end()

    def _end(self) -> None:
        self._measuring.close()
        for sentence in far_weights(steps[0] for steps in self._seen.values()):
            log.warning("%s", sentence)
        self._seen, self._wanted = {}, set()


def _batches(config: TrainConfig, data: DetectionDataset, device: str) -> Iterator[Batch]:
    """Yield the batches of one process's training, epoch after epoch."""
    seed, size = config.train.seed, config.train.batch_size
    pictures = AugmentedDataset(data, config.data.augment, seed)
    for epoch in itertools.count():
        keys = list(EpochSampler(len(data), seed=seed, epoch=epoch))
        for start in range(0, len(keys), size):
            images, targets = collate([pictures[key] for key in keys[start : start + size]])
            yield (
                [scaled(image.to(device)) for image in images],
                [{name: value.to(device) for name, value in target.items()} for target in targets],
            )
