"""The speed and position of a run, for bar, log and metrics."""

# ruff: noqa: ARG002 - Lightning calls its hooks with all of their arguments

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)

_RECENT = 50
"""Number of last steps for the speed."""
_BETWEEN = 0.2
"""Least seconds between two shown positions."""


@dataclass(frozen=True)
class Position:
    """Where a run is."""

    epoch: int
    """From 1."""
    epochs: int
    step: int
    """Steps taken, in the whole run."""
    steps: int
    loss: float | None
    """Sum of the losses of the last batch; None while evaluating."""
    seconds_a_step: float
    images_a_second: float
    seconds_left: float
    """Until the end of the whole run, including evaluations after the first."""
    evaluated: tuple[int, int] | None = None
    """Done and total batches of the current evaluation; None while training."""


class Pace(Callback):
    """Measures the time of training, separately from that between epochs.

    Args:
        validate_every: Epochs between two evaluations.
    """

    def __init__(self, validate_every: int) -> None:
        self.validate_every = validate_every
        self._steps: deque[tuple[float, int]] = deque(maxlen=_RECENT)  # seconds and images of each
        self._taken = 0
        self._since = 0.0
        self._images = 0  # of the current step
        self._paused: float | None = None
        self._between = 0.0

    @property
    def seconds_a_step(self) -> float:
        """Mean of the last steps."""
        return sum(seconds for seconds, _ in self._steps) / max(len(self._steps), 1)

    @property
    def images_a_second(self) -> float:
        """Images of all processes."""
        seconds = sum(seconds for seconds, _ in self._steps)
        return sum(images for _, images in self._steps) / seconds if seconds else 0.0

    def seconds_left(self, trainer: Trainer) -> float:
        """Until the end of the run."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        evaluations = sum(later % self.validate_every == 0 or later == epochs for later in range(epoch, epochs + 1))
        steps = trainer.estimated_stepping_batches - trainer.global_step
        return steps * self.seconds_a_step + evaluations * self._between

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()
        if self._paused is not None:
            self._between, self._paused = self._since - self._paused, None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the time of a step."""
        self._images += len(batch[0]) * trainer.world_size
        if is_step(trainer, batch_idx):
            now = time.monotonic()
            if self._taken == 1:  # the first step of a process takes longer
                self._steps.clear()
            self._taken += 1
            self._steps.append((now - self._since, self._images))
            self._since, self._images = now, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._paused = time.monotonic()


class Progress(Callback):
    """Shows where the run is, or logs a line every `every` steps.

    It logs the main numbers of every evaluation.

    Args:
        pace: The speed.
        every: Steps between two lines.
        show: Gets the position a few times a second; None to log lines.
    """

    def __init__(self, pace: Pace, every: int, show: Callable[[Position], None] | None = None) -> None:
        self.pace, self.every, self.show = pace, every, show
        self._next = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where a resumed run continues."""
        if trainer.is_global_zero and trainer.global_step:
            done = f"step {trainer.global_step}/{trainer.estimated_stepping_batches}"
            log.info("Resumed after %s, in %s.", done, _epoch(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show or log the position."""
        if not trainer.is_global_zero or not is_step(trainer, batch_idx):
            return
        if self.show and self._due():
            self.show(self._position(trainer, float(outputs["loss"])))
        elif not self.show and trainer.global_step % self.every == 0:
            here = self._position(trainer, float(outputs["loss"]))
            log.info(
                "epoch %d/%d, step %d/%d: loss %.4f, %.3f s/step, %.1f images/s, %s left",
                *(here.epoch, here.epochs, here.step, here.steps, here.loss),
                *(here.seconds_a_step, here.images_a_second, duration(here.seconds_left)),
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the first batch of an evaluation."""
        self._next = 0.0

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Show the progress of the evaluation."""
        if self.show and trainer.is_global_zero and trains(trainer) and self._due():
            done = trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.ready
            self.show(self._position(trainer, None, (done, sum(map(int, trainer.num_val_batches)))))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Log the evaluation's main numbers."""
        if trainer.is_global_zero and trains(trainer):
            numbers = ", ".join(f"{name} {pl_module.metrics[name]:.3f}" for name in ("AP", "AP50", "AP75"))
            log.info("%s: %s", _epoch(trainer), numbers)

    def _due(self) -> bool:
        now = time.monotonic()
        due = now >= self._next
        if due:
            self._next = now + _BETWEEN
        return due

    def _position(self, trainer: Trainer, loss: float | None, evaluated: tuple[int, int] | None = None) -> Position:
        return Position(
            trainer.current_epoch + 1,
            trainer.max_epochs or 0,
            trainer.global_step,
            int(trainer.estimated_stepping_batches),
            loss,
            self.pace.seconds_a_step,
            self.pace.images_a_second,
            self.pace.seconds_left(trainer),
            evaluated,
        )


def is_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a batch ends a step: gradients of several may be accumulated."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def trains(trainer: Trainer) -> bool:
    """Whether an evaluation is part of training.

    Otherwise it fills the gaps of a finished run.
    """
    return trainer.state.fn == "fit"


def duration(seconds: float) -> str:
    """Minutes and seconds, ``1:05``, or with hours, ``2:01:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
