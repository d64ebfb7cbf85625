"""The guard: finds, explains and refuses NaN or infinite training steps."""

# ruff: noqa: ARG002 - Lightning calls its hooks with all of their arguments

import logging
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from detloss.errors import NonFiniteError
from detloss.injection import injected
from detloss.training.callbacks import MetricsFile
from detloss.training.guard.buffers import Buffers, Flag
from detloss.training.guard.explain import Batch, Step, explain
from detloss.training.module import gradient_scaler

__all__ = ["MOST_IN_A_ROW", "Guard"]

MOST_IN_A_ROW = 25
"""As many refused steps in a row are an error in every mode. The weights do not change, so more of the same data does
not help. By then a gradient scaler, which starts at 2^16 and halves, is far below 1."""
_FAULTY = 1.0
"""Verdict on a step that must not be taken: the number that torch's fused optimizers read in ``found_inf``."""
_OVERFLOWED = 0.5
"""Verdict on a step that its gradient scaler skips. The greatest verdict of all processes counts."""
_FULL_REPORTS = 10
"""Faulty steps that are explained in the log; each further one gets a line."""

log = logging.getLogger(__name__)


class Guard(Callback):
    """Refuses NaN or infinite steps of a `DetectionModule`, and explains them.

    After a faulty step, weights, optimizer state and buffers (batch norm's statistics, the running mean of a loss) are
    bit for bit as before. Only the step number and the learning-rate schedule advance.

    No step waits for the device. The verdict on a step is a number on the device, which torch's fused optimizers read
    there (as their attribute ``found_inf``, made for gradient scalers). The host reads it at the next optimizer step,
    at an evaluation or before a checkpoint. Only if something is wrong, the losses are then computed again by pair.

    An optimizer that is not fused, or that a gradient scaler drives, cannot read the number. Then the host waits for it
    and removes the gradients. (A gradient scaler makes the host wait there anyway.)

    A gradient scaler handles infinite gradients: they are not a fault unless they never end. A non-finite loss is
    always treated as a fault. One faulty batch makes a step of accumulated batches faulty. Under DDP the processes
    agree, and the message has the explanations of all.

    Args:
        mode: Raise an error, or skip the step and continue.
        metrics: Gets a line for each skipped step, with their number so far as ``train/skipped``.

    Attributes:
        skipped: Number of skipped steps.
    """

    def __init__(self, mode: Literal["raise", "skip"] = "raise", metrics: MetricsFile | None = None) -> None:
        if mode not in ("raise", "skip"):
            raise ValueError(
                f"Guard: the mode is wrong (found {mode!r}). Fix: write 'raise' or 'skip', or use no guard."
            )
        self.mode, self.metrics = mode, metrics
        self.skipped = 0
        self._in_a_row = 0  # steps that the guard or a gradient scaler skipped
        self._step: Step | None = None  # the step in progress
        self._before: Buffers | None = None  # from before it
        self._pending: tuple[Step, Flag] | None = None  # the step before it, with a verdict that the host has not read

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the losses to keep their inputs."""
        self._let_go(trainer, pl_module)
        for losses in injected(pl_module).values():
            losses.kept = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the buffers before a step, and check the batch."""
        if self._step is None:
            # The step's number in metrics.jsonl.
            self._step = Step(trainer.global_step + 1, f"{trainer.current_epoch + 1}/{trainer.max_epochs}")
            self._before = Buffers(pl_module)
        self._step.batches.append(Batch.of(batch, batch_idx))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Take the loss and its parts."""
        assert self._step is not None
        batch = self._step.batches[-1]
        batch.loss = loss.detach()
        for losses in injected(pl_module).values():
            batch.pairs += losses.kept or []
            losses.kept = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Decide on the device if the step is faulty, and undo it.

        The buffers are restored and the optimizer is told.
        """
        step, before = self._step, self._before
        assert step is not None
        assert before is not None
        step.look_at_gradients(optimizer)
        scaler = gradient_scaler(trainer)
        verdict = self._verdict(trainer, step, scaled=scaler is not None)
        before.restore(where=verdict == _FAULTY)
        flag = Flag(verdict)
        try:
            self._read(trainer, pl_module)
        except NonFiniteError:
            before.restore()
            raise
        self._step, self._pending = None, (step, flag)
        if scaler is None and _skips_on_device(optimizer):
            optimizer.found_inf = verdict  # type: ignore[attr-defined]  # torch's own untyped protocol
        elif flag.read() == _FAULTY:
            if scaler is not None and _unscales_itself(optimizer):
                scaler.unscale_(optimizer)  # it must see the gradients before they are removed
            optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Take the parts of the loss, and report known results."""
        step = self._step or (self._pending and self._pending[0])
        if step:
            step.batches[-1].parts = dict((outputs or {}).get("losses", {}))
        told = [vars(optimizer).pop("found_inf", None) is not None for optimizer in trainer.optimizers]
        if self._step is None and not any(told):
            self._read(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the last verdict before an evaluation."""
        self._read(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the last verdict before the epoch ends."""
        self._read(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the counts of all steps so far.

        On `raise`, a faulty step prevents the checkpoint.
        """
        self._read(trainer, pl_module)
        checkpoint["detloss_guard"] = {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the counts; an older checkpoint has none."""
        saved = checkpoint.get("detloss_guard", {})
        self.skipped, self._in_a_row = saved.get("skipped", 0), saved.get("in_a_row", 0)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release everything."""
        self._let_go(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Release everything."""
        self._let_go(trainer, pl_module)

    def _let_go(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = self._before = self._pending = None
        for losses in injected(pl_module).values():
            losses.kept = None
        for optimizer in trainer.optimizers:
            vars(optimizer).pop("found_inf", None)

    def _verdict(self, trainer: Trainer, step: Step, *, scaled: bool) -> Tensor:
        """A scalar, the same in all processes: 0, `_FAULTY` or `_OVERFLOWED`."""
        losses_bad = ~torch.stack([batch.loss.float() for batch in step.batches]).isfinite().all()
        gradients_bad = ~step.norms.isfinite().all()
        # The host knows all earlier steps: with a scaler it has waited for each.
        forgiven = scaled and self._in_a_row + 1 < MOST_IN_A_ROW
        overflow = _OVERFLOWED if forgiven else _FAULTY
        verdict = torch.maximum(_FAULTY * losses_bad.float(), overflow * gradients_bad.float())
        if trainer.world_size > 1:
            torch.distributed.all_reduce(verdict, torch.distributed.ReduceOp.MAX)
        return verdict

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Act on the last step, if not done yet."""
        if self._pending is None:
            return
        (step, flag), self._pending = self._pending, None
        verdict = flag.read()
        self._in_a_row = self._in_a_row + 1 if verdict else 0
        if verdict != _FAULTY:
            return
        endless = self._in_a_row >= MOST_IN_A_ROW
        if self.mode == "raise" or endless:
            raise NonFiniteError(
                f"{explain(step, pl_module, trainer.world_size)}\n"
                + (f"None of the last {MOST_IN_A_ROW} steps could be taken. " if endless else "")
                + "The weights, the optimizer's state and the buffers are those from before this step."
            )
        self.skipped += 1
        report = explain(step, pl_module, trainer.world_size) if self.skipped <= _FULL_REPORTS else str(step)
        if trainer.is_global_zero:
            log.warning("%s\nThe step is skipped: %d so far.", report, self.skipped)
            if self.metrics is not None:
                self.metrics.append(trainer, {"train/skipped": self.skipped})


def _skips_on_device(optimizer: Optimizer) -> bool:
    """Whether the optimizer only skips a step at ``found_inf`` 1.

    It reads ``found_inf`` on the device.
    """
    return _unscales_itself(optimizer) and all(
        # Fused SGD would not fill a momentum that it allocates in such a step.
        not group.get("momentum") or "momentum_buffer" in optimizer.state[parameter]
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    )


def _unscales_itself(optimizer: Optimizer) -> bool:
    """Whether the optimizer is fused: it unscales gradients itself.

    It reads ``found_inf``, and a gradient scaler leaves the unscaling to it.
    """
    return getattr(optimizer, "_step_supports_amp_scaling", False)
