"""`DetectionModule`: any torchvision detector in Lightning."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from torch import Tensor, nn

from detloss.heads.eval_losses import DETECTORS, validation_losses
from detloss.heads.slots import heads_in
from detloss.loss import BoxRegressionLoss
from detloss.training.collected import Collected
from detloss.training.evaluation import Detections
from detloss.training.optimization import Schedule, build_optimizer, learning_rate_factor
from detloss.training.settings import FitConfig

Batch = tuple[Sequence[Tensor], Sequence[dict[str, Any]]]
"""Images and targets."""


class DetectionModule(pl.LightningModule):
    """Trains and evaluates a detector with torchvision's interface.

    It maps (images, targets) to losses and images to detections.

    Training sums the detector's loss dictionary and logs each part as ``train/<name>``. Validation and testing gather
    the detections of all processes and log COCO's numbers as ``val/AP``, ``val/AP50``, ...; validation logs the losses
    too, as ``val/loss`` and ``val/<name>``, for a torchvision detector. Each of several loaders has its own numbers:
    ``val/0/AP``, or by its key in a dictionary of loaders.

    A batch is what `detloss.training.collate` makes, or the collate function of torchvision's fine-tuning tutorial:
    images, and targets as torchvision's detectors take them (``boxes`` ``(N, 4)`` in pixels, ``labels`` ``(N,)``).
    Evaluation reads three more keys: ``image_id`` (a whole number or a tensor of one; without it images are numbered),
    ``area`` and ``iscrowd``, each ``(N,)``; other keys are ignored. If the data set's attribute ``coco`` is a COCO
    dictionary or pycocotools object with the same ids, it is the ground truth; else the targets are.

    A loss with a buffer named ``progress`` gets the done fraction of the run, in [0, 1], before every step.

    Args:
        model: A torchvision detector, with or without injected losses.
        config: Optimizer and learning rate; the trainer uses the other fields.
        card: Plain values that each checkpoint holds under ``detloss``, such as class names.
        logs: Log the losses and the learning rate of each training step for Lightning. That takes longer than the
            guard, so a run without one of Lightning's loggers does not.
    """

    def __init__(
        self,
        model: nn.Module,
        config: FitConfig | None = None,
        card: Mapping[str, Any] | None = None,
        *,
        logs: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config or FitConfig()
        self.card = card
        self.logs = logs
        self.metrics: dict[str, float] = {}
        """COCO's numbers of the last evaluation, and after validation the losses, in every process."""
        self._collected: defaultdict[int, Collected] = defaultdict(Collected)  # by the position of the loader

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Call the detector."""
        return self.model(images, targets)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the total loss as ``loss``, and its parts as ``losses``.

        The parts are detached.
        """
        images, targets = batch
        losses: dict[str, Tensor] = self.model(images, targets)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        parts = {name: value.detach() for name, value in losses.items()}
        if self.logs:
            self.log_dict({f"train/{name}": value for name, value in parts.items()}, batch_size=len(images))
            self.log("train/loss", total.detach(), prog_bar=True, batch_size=len(images))
            self.log("train/lr", self.optimizers().param_groups[0]["lr"], batch_size=len(images))  # type: ignore[union-attr]
        return {"loss": total, "losses": parts}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Tell the losses the progress of the run."""
        for buffer in self._progress_buffers():
            buffer.fill_(self._fraction(self.trainer.global_step))

    @property
    def detections(self) -> dict[int, Detections]:
        """Detections of the last evaluation by image id.

        Only those of its first loader: in the first process those of all processes, in the others their own.
        """
        return self._collected[0].detections

    def on_validation_epoch_start(self) -> None:
        """Forget the detections of the last evaluation."""
        self._collected.clear()

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the losses and the detections of one batch."""
        images, targets = batch
        if not any(isinstance(module, DETECTORS) for module in self.model.modules()):
            self.test_step(batch, batch_idx, dataloader_idx)
            return
        with validation_losses(self.model):
            losses, outputs = self.model(images, [_with_area(target) for target in targets])
        sums = self._collected[dataloader_idx].losses
        for name, value in {**losses, "loss": sum(losses.values()), "": torch.ones(())}.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(images)
        self._collect(images, targets, outputs, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Evaluate what all processes collected."""
        self._evaluate("val", self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        """Forget the detections of the last evaluation."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Collect the detections of one batch."""
        images, targets = batch
        self._collect(images, targets, self.model(images), dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Evaluate what all processes collected."""
        self._evaluate("test", self.trainer.test_dataloaders)

    def configure_optimizers(self) -> Any:
        """The config's optimizer and learning-rate schedule, which moves every step."""
        # One kernel for all parameters, which skips a step on the device if the guard tells it to. With a fused
        # optimizer, gradients cannot be unscaled or clipped before the step.
        fused = gradient_scaler(self.trainer) is None
        optimizer = build_optimizer(self.model, self.config, fused=fused)
        schedule = Schedule(optimizer, lambda step: learning_rate_factor(self.config, self._fraction(step)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip as the trainer says, in bfloat16 too."""
        plugin = self.trainer.precision_plugin
        if gradient_clip_val and isinstance(plugin, MixedPrecision) and gradient_scaler(self.trainer) is None:
            # Lightning refuses any fused optimizer here, although it unscales nothing without a scaler.
            algorithm = gradient_clip_algorithm or GradClipAlgorithmType.NORM
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save which losses are in which head, and the card."""
        checkpoint["detloss_slots"] = self._losses_by_slot()
        if self.card is not None:
            checkpoint["detloss"] = dict(self.card)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Reset losses that differ from those of the checkpoint."""
        here = self._losses_by_slot()
        for slot, losses in checkpoint.get("detloss_slots", {}).items():
            if here.get(slot) != losses:
                state = checkpoint["state_dict"]
                for key in [key for key in state if key.startswith(f"{slot}.")]:
                    del state[key]

    def _losses_by_slot(self) -> dict[str, list[str]]:
        """The losses of each head, with their classes and state keys.

        The key is the path of the submodule that holds them.
        """
        return {
            f"{path}.{adapter.slot}": [
                f"{type(part).__qualname__}({', '.join(name for name, _ in part.named_buffers(recurse=False))})"
                for part in getattr(head, adapter.slot).modules()
            ]
            for path, head, adapter in heads_in(self)
        }

    def _fraction(self, step: int) -> float:
        # Step 0 must not ask Lightning for the number of steps: it would build the loader before progress is restored.
        return min(step / max(self.trainer.estimated_stepping_batches, 1), 1.0) if step else 0.0

    def _progress_buffers(self) -> Iterator[Tensor]:
        for module in self.model.modules():
            if isinstance(module, BoxRegressionLoss) and isinstance(
                progress := getattr(module, "progress", None), Tensor
            ):
                yield progress

    def _collect(self, images: Sequence[Tensor], targets: Any, outputs: Any, loader: int) -> None:
        self._collected[loader].add(images, targets, outputs, self.global_rank, self.trainer.world_size)

    def _evaluate(self, stage: str, loaders: Any) -> None:
        if self.trainer.sanity_checking:
            return
        loaders = dict(enumerate(loaders)) if isinstance(loaders, list | tuple) else loaders
        named = loaders if isinstance(loaders, Mapping) else {"": loaders}
        metrics: dict[str, float] = {}
        for index, (name, loader) in enumerate(named.items()):
            collected = self._collected[index] = self._collected[index].gathered(
                self.global_rank, self.trainer.world_size
            )
            if self.trainer.is_global_zero:
                numbers = collected.metrics(getattr(loader, "dataset", None))
                metrics |= {f"{name}/{key}" if len(named) > 1 else key: value for key, value in numbers.items()}
        self.metrics = self.trainer.strategy.broadcast(metrics)
        # Every process has the same numbers. Only with both options Lightning neither warns nor takes their mean, with
        # four messages a number. As each process logs them, each can monitor them.
        several = self.trainer.world_size > 1
        logged = {f"{stage}/{name}": value for name, value in self.metrics.items()}
        self.log_dict(logged, sync_dist=several, rank_zero_only=several)


def gradient_scaler(trainer: pl.Trainer) -> torch.amp.GradScaler | None:
    """The gradient scaler of a trainer's optimizers, if any."""
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    return scaler if scaler is not None and scaler.is_enabled() else None


def _with_area(target: Mapping[str, Any]) -> dict[str, Any]:
    """Skip objects without area, for which torchvision computes no losses."""
    boxes = target["boxes"]
    # A side near the resolution of float32 (2^-23 of its coordinate) may round to zero when the detector resizes.
    kept = (boxes[:, 2:] - boxes[:, :2] > boxes[:, 2:].abs() * 2**-20).all(dim=1)
    return {
        name: value[kept] if isinstance(value, Tensor) and value.ndim and len(value) == len(kept) else value
        for name, value in target.items()
    }
