"""Checkpoints that survive: complete or not at all, every epoch.

Ctrl-C saves one too.
"""

# ruff: noqa: ARG002 - Lightning calls its hooks with all of their arguments

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from detloss.models.pretrained import read_checkpoint
from detloss.training.data.datamodule import derived_seed
from detloss.training.folder import write_whole

log = logging.getLogger(__name__)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM.

    Attributes:
        folder: The run's folder; training resumes from it if it holds a checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"training was interrupted. Fix: resume it from {folder}")
        self.folder = folder


_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals that ask a run to stop; Windows has no SIGHUP."""


class StopRequestedError(Exception):
    """Takes a requested stop out of Lightning's loops.

    There KeyboardInterrupt would end the process.
    """


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt`` (to resume) and ``best.ckpt`` (highest val/AP).

    ``last.ckpt`` is written at the end of every epoch, every `every` steps, and after the current step on Ctrl-C,
    SIGTERM or SIGHUP (the terminal closes). A signal during an evaluation takes effect at its end; a second signal
    stops at once.

    Args:
        folder: Where the two files are.
        every: Steps between two checkpoints within an epoch; None for none.
    """

    def __init__(self, folder: Path, every: int | None = None) -> None:
        self.folder, self.every = folder, every
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.started = self.stop_requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best score so far, and its step."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals after Lightning set its handlers.

        Only a main thread can.
        """
        self.started = True
        if threading.current_thread() is threading.main_thread():
            # `nohup` ignores a signal, and that must stay.
            heard = [kind for kind in _STOPS if signal.getsignal(kind) is not signal.SIG_IGN]
            self._handlers = {kind: signal.signal(kind, self._request_stop) for kind in heard}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the signal handlers."""
        self._give_signals_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._give_signals_back()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch, if due or asked for.

        Never while a gradient is waiting to be accumulated.
        """
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        stop = self._must_stop(trainer)
        if stop or (self.every is not None and trainer.global_step % self.every == 0):
            trainer.save_checkpoint(self.folder / "last.ckpt")
        if stop:
            raise StopRequestedError

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch's evaluation."""
        metrics: dict[str, float] = getattr(pl_module, "metrics", {})
        is_best = "AP" in metrics and (self.best_score is None or metrics["AP"] > self.best_score)
        if is_best:
            self.best_score, self.best_step = metrics["AP"], trainer.global_step
        # In this order: after a kill between the two, one can be written from the other.
        trainer.save_checkpoint(self.folder / "last.ckpt")
        if is_best:
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)
        if self._must_stop(trainer) and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            raise StopRequestedError

    def _give_signals_back(self) -> None:
        for kind, handler in self._handlers.items():
            signal.signal(kind, handler)
        self._handlers = {}

    def _must_stop(self, trainer: Trainer) -> bool:
        # All processes must agree on the step, or the others would wait for this one forever.
        if trainer.world_size == 1:
            return self.stop_requested
        return trainer.strategy.reduce_boolean_decision(self.stop_requested, all=False)

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        if self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True
        log.warning("Stopping after this step with a checkpoint. Press Ctrl-C again to stop at once without one.")


class StepSeeds(Callback):
    """Seeds torch before every training step from (seed, epoch, batch, process).

    The random numbers of a step (the RoI and RPN samplers' ``torch.randperm``, a random input size, dropout) are then
    the same in a resumed run, and do not depend on earlier evaluation or logging.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed all of torch's generators that the model uses."""
        seed = derived_seed(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        # Without a GPU, torch.manual_seed would keep each caller's stack until the process ends.
        (torch.default_generator if pl_module.device.type == "cpu" else torch).manual_seed(seed)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, and reads them without running code.

    A kill leaves either the old file or the new one, complete.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save to `path`."""

        def write(part: Path) -> None:
            # With a path, torch.save does not say why it cannot write.
            with part.open("wb") as file:
                torch.save(checkpoint, file)

        write_whole(Path(path), write)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read `path` with torch's guard, which Lightning does not use by default."""
        checkpoint: dict[str, Any] = read_checkpoint(path)
        return checkpoint
