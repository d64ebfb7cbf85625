"""A trained detector from a run's folder, and how to use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detloss._version import __version__
from detloss.config import load_config
from detloss.config.files import expanded
from detloss.errors import ConfigError, DataError
from detloss.models import build_model
from detloss.text import clipped
from detloss.training.data.dataset import DetectionDataset
from detloss.training.data.sources import open_datasets
from detloss.training.folder import config_of
from detloss.training.module import DetectionModule
from detloss.training.resuming import check_fits, read_saved
from detloss.training.settings import TrainConfig

CheckpointName = Literal["best", "last"]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, use_attribute_docstrings=True)


class Category(_Plain):
    """A class that a detector finds."""

    label: int
    """Its label, from 1."""
    id: Any
    """Its id in the annotation file."""
    name: str
    """Its name there."""


class Preprocessing(_Plain):
    """The steps from an image file to a detector's input."""

    color: Literal["RGB"] = "RGB"
    """The order of the three channels, which come first: ``(3, H, W)``."""
    scale: list[float] = [0.0, 1.0]
    """Black and white in the input, which is float32."""
    pixel_range: list[float] | None = None
    """Black and white in the image file; None: 0 and 255 of 8 bits, 0 and 65535 of 16, 0 and 1 of float."""
    exif: Literal["upright"] = "upright"
    """An image is turned as its EXIF orientation says."""
    min_size: list[int] | None = None
    """The detector resizes the shorter side to this (the last one of several) ..."""
    max_size: int | None = None
    """... but the longer side to at most this."""
    fixed_size: list[int] | None = None
    """Or both to this (SSD): width and height."""
    mean: list[float] | None = None
    """The detector then subtracts this ..."""
    std: list[float] | None = None
    """... and divides by this."""


class Card(_Plain):
    """What you need to use a trained detector.

    Its checkpoints hold it as plain values under ``detloss``.
    """

    version: str = __version__
    """Of detloss."""
    categories: Annotated[list[Category], Field(min_length=1)]
    """In the order of their labels."""
    preprocessing: Preprocessing
    """From the image file to the detector."""
    frozen_norm_eps: float | None = None
    """The eps of frozen batch norms, which a state dict does not hold: 0 in some of torchvision's detectors."""

    @property
    def class_names(self) -> dict[int, str]:
        """Name of each label."""
        return {category.label: category.name for category in self.categories}


def card_of(model: nn.Module, data: DetectionDataset, pixel_range: list[float] | None = None) -> Card:
    """Describe a detector that is trained on a data set."""
    transform: Any = getattr(model, "transform", None)
    sizes: dict[str, Any] = {}
    for key in ("min_size", "max_size", "fixed_size", "image_mean", "image_std"):
        value = getattr(transform, key, None)
        sizes[key.removeprefix("image_")] = list(value) if isinstance(value, tuple) else value
    if sizes["fixed_size"] is not None:
        sizes["min_size"] = sizes["max_size"] = None
    eps = {module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)}
    return Card(
        categories=[
            Category(label=label, id=identity, name=name)
            for label, (identity, name) in enumerate(
                zip(data.annotations.category_ids, data.categories, strict=True), start=1
            )
        ],
        preprocessing=Preprocessing(pixel_range=pixel_range, **sizes),
        frozen_norm_eps=eps.pop() if len(eps) == 1 else None,
    )


@dataclass(frozen=True)
class Trained:
    """A detector that a run trained, with its config and card."""

    model: nn.Module
    """In evaluation mode, on the CPU; its ``class_names`` are those of the card."""
    card: Card
    config: TrainConfig
    """The run's config, with absolute paths."""
    checkpoint: Path
    """The file of the weights."""

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """Black and white in image files, as `detloss.training.data.images.read_image` takes them."""
        given = self.card.preprocessing.pixel_range
        return None if given is None else (given[0], given[1])


def load_trained(folder: str | Path, checkpoint: CheckpointName | None = None) -> nn.Module:
    """The detector that a run trained, in evaluation mode.

    Its ``class_names`` are the names of its labels: ``{1: "ellipse", ...}``. It takes a list of RGB images
    ``(3, H, W)``, float32 in [0, 1].

    Args:
        folder: The run's folder; it may have been moved.
        checkpoint: The weights of the highest validation AP, or the last ones; None uses the run's `train.select`.

    Raises:
        ConfigError: the config or the checkpoint is lost or damaged; no other file is needed.
    """
    return open_trained(folder, checkpoint, losses=True).model


def open_trained(folder: str | Path, checkpoint: CheckpointName | None = None, *, losses: bool = False) -> Trained:
    """Read a run's config and a checkpoint of it.

    Args:
        folder: The run's folder.
        checkpoint: The checkpoint; None uses the run's `train.select`.
        losses: Inject the run's losses too. If not, their packages are not needed.

    Raises:
        ConfigError: the config or the checkpoint is lost, damaged or too old.
    """
    folder = Path(expanded(str(folder)))
    overrides = () if losses else ("losses={}",)
    config = load_config(config_of(folder), schema=TrainConfig, overrides=overrides).under(folder.resolve())
    path = folder / f"{checkpoint or config.train.select}.ckpt"
    saved = read_saved(path)
    card = _read_card(saved.get("detloss"), path)
    module = DetectionModule(build_model(config if card is None else _from_checkpoint(config, path)))
    check_fits(saved, path, module)
    module.on_load_checkpoint(saved)  # the best weights may be older than a loss that was changed on resuming
    module.load_state_dict(saved["state_dict"])
    model = module.model.eval()
    if card is None:
        card = card_of(model, _training_data(config, path), config.data.pixel_range)
    for part in model.modules():
        if isinstance(part, FrozenBatchNorm2d) and card.frozen_norm_eps is not None:
            part.eps = card.frozen_norm_eps
    model.class_names = card.class_names  # type: ignore[assignment]
    return Trained(model, card, config, path)


def _read_card(saved: object, path: Path) -> Card | None:
    if saved is None:
        return None
    try:
        return Card.model_validate(saved)
    except ValidationError as error:
        first = error.errors()[0]
        place = clipped(".".join(map(str, ("detloss", *first["loc"]))))
        raise ConfigError(
            f"{path} has no names of its labels ({place}: {first['msg']}). Fix: use the file that the run wrote."
        ) from error


def _from_checkpoint(config: TrainConfig, path: Path) -> TrainConfig:
    """The model with its trained weights, without the initial ones' files.

    With weights, torchvision's builders freeze layers and norms.
    """
    begun = config.weights is not None or config.weights_backbone is not None
    return config.model_copy(update={"weights": str(path.resolve()) if begun else None, "weights_backbone": None})


def _training_data(config: TrainConfig, path: Path) -> DetectionDataset:
    try:
        return open_datasets(config)["train"]
    except DataError as error:
        raise ConfigError(
            f"{path} was written by an older detloss without class names, and the run's data cannot be read: {error}\n"
            f"Fix: put the data back to its place in {path.with_name('config.yaml')}."
        ) from error
