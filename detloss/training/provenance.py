"""`Provenance`: versions, device, data and config of a run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from detloss._version import __version__
from detloss.injection import injected
from detloss.loss import BoxRegressionLoss, NestedSpec
from detloss.registry import HEAD_GROUP, Plugin, get_plugin, one_scan
from detloss.training.banner import device_name
from detloss.training.data.dataset import DetectionDataset
from detloss.training.folder import PROVENANCE, read_plain, sha256, write_text
from detloss.training.module import DetectionModule
from detloss.training.settings import TrainConfig

_PACKAGES = ("hotcoco", "numpy", "pillow", "pytorch-lightning", "torch", "torchvision")
"""Other packages that decide the numbers of a run."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class SplitDigest(_Part):
    """Hashes that identify the data of one split."""

    annotations: str
    """SHA-256 of the annotation file; of synthetic images, of their COCO dictionary as JSON with sorted keys."""
    images: str
    """SHA-256 of the images' names, in their order, as a JSON list."""


class Provenance(_Part):
    """What a run was made with; without a date, so it repeats."""

    versions: dict[str, str]
    """Of Python, of detloss, of the packages that the losses and heads are from, and of `_PACKAGES`."""
    device: str
    data: dict[str, SplitDigest]
    """By split."""
    config: dict[str, Any]
    """As in ``config.yaml``."""
    earlier: tuple[Provenance, ...] = ()
    """Earlier values, if the run was resumed with others: in order, each once."""


def write_provenance(
    folder: Path,
    settings: TrainConfig,
    datasets: Mapping[str, DetectionDataset],
    module: DetectionModule,
    trainer: pl.Trainer,
) -> None:
    """Write ``provenance.json`` of a run that starts or resumes."""
    now = Provenance(
        versions={
            "python": platform.python_version(),
            "detloss": __version__,
            **{plugin.package: plugin.version for plugin in sorted(_plugins(module, settings))},
            **{package: version(package) for package in _PACKAGES},
        },
        device=device_name(trainer),
        data={name: digest(settings, name, data) for name, data in datasets.items()},
        config=read_plain(folder),
    )
    file = folder / PROVENANCE
    before = read_provenance(file) if (folder / "last.ckpt").exists() else None
    parts = [*before.earlier, before.model_copy(update={"earlier": ()})] if before is not None else []
    earlier = tuple(part for number, part in enumerate(parts) if part not in (now, *parts[:number]))
    write_text(file, now.model_copy(update={"earlier": earlier}).model_dump_json(indent=2) + "\n")


def digest(settings: TrainConfig, name: str, data: DetectionDataset) -> SplitDigest:
    """A hash that identifies the data and settings of a split."""
    split = getattr(settings.data, name)
    return SplitDigest(
        annotations=_sha256_as_json(data.coco) if split is None else sha256(Path(split.annotations)),
        images=_sha256_as_json([image["file_name"] for image in data.coco["images"]]),
    )


def read_provenance(file: Path) -> Provenance | None:
    """What a run was made with; None if lost or damaged."""
    try:
        return Provenance.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _plugins(module: DetectionModule, settings: TrainConfig) -> Iterator[Plugin]:
    """The plugins that a model is trained with, and those within them."""
    names = [term.name for losses in injected(module.model).values() for term in losses.terms]
    for part in module.model.modules():
        if isinstance(part, BoxRegressionLoss):
            names += [value.name for _, value in part.config if isinstance(value, NestedSpec)]
    with one_scan():
        yield from (get_plugin(name).plugin for name in names)
        yield from (get_plugin(head, HEAD_GROUP).plugin for head in settings.losses)


def _sha256_as_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
