"""A short description of a run before it starts."""

from collections.abc import Mapping
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from detloss.injection import injected
from detloss.text import clipped
from detloss.training.data.dataset import DetectionDataset
from detloss.training.module import DetectionModule
from detloss.training.settings import TrainConfig

_CLASSES = 10
"""Most names of classes that are shown."""


def banner(
    settings: TrainConfig,
    module: DetectionModule,
    datasets: Mapping[str, DetectionDataset],
    trainer: Trainer,
    folder: Path,
) -> str:
    """Describe a run before it starts: model, losses, data, device, folder."""
    parameters = list(module.model.parameters())
    total = sum(each.numel() for each in parameters)
    trained = sum(each.numel() for each in parameters if each.requires_grad)
    model = settings.model if settings.backbone is None else f"{settings.model} on {settings.backbone}"
    names = next(iter(datasets.values())).categories
    shown = ", ".join(clipped(name, 30) for name in names[:_CLASSES])
    fit = settings.train
    lines = [
        ("model", f"{model}, {_millions(total)} parameters, {_millions(trained)} trained"),
        *(("losses", line) for line in str(injected(module.model)).splitlines()),
        *((split, _content(data)) for split, data in datasets.items()),
        ("classes", f"{len(names)}: {shown}{', ...' if len(names) > _CLASSES else ''}"),
        ("epochs", f"{fit.epochs}, {fit.batch_size * fit.accumulate * trainer.world_size} images a step"),
        ("device", f"{device_name(trainer)}, {fit.precision}"),
        ("folder", str(folder)),
    ]
    width = max(len(name) for name, _ in lines)
    return "\n".join(["The run:", *(f"  {name:<{width}}  {text}" for name, text in lines)])


def device_name(trainer: Trainer) -> str:
    """The devices of a run: number, kind and name, or threads."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{trainer.world_size} x {device.type} ({name})" if trainer.world_size > 1 else f"{device} ({name})"


def _millions(number: int) -> str:
    return f"{number / 1e6:.2f} M"


def _content(data: DetectionDataset) -> str:
    text = f"{len(data):,} images, {len(data.coco['annotations']):,} boxes"
    return f"{text}, {len(data.skipped):,} more skipped" if data.skipped else text
