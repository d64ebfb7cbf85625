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
    """What the detector calls it, from 1."""
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
    """The detector resizes the shorter side to this (to the last one, where there are several) ..."""
    max_size: int | None = None
    """... but the longer one to no more than this."""
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
    """Of frozen batch norms, which a state dict does not tell: 0 in some of torchvision's trained detectors."""

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
    """A detector that a run trained, and what goes with it."""

    model: nn.Module
    """In evaluation mode, on the CPU; its ``class_names`` are those of the card."""
    card: Card
    config: TrainConfig
    """The run's config, with absolute paths."""
    checkpoint: Path
    """The file that the weights are from."""

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """Black and white in image files, as `detloss.training.data.images.read_image` takes them."""
        given = self.card.preprocessing.pixel_range
        return None if given is None else (given[0], given[1])


def load_trained(folder: str | Path, checkpoint: CheckpointName | None = None) -> nn.Module:
    """The detector that a run trained, in evaluation mode.

    Its ``class_names`` say what its labels mean: ``{1: "ellipse", ...}``. It takes a list of RGB images ``(3, H, W)``,
    float32 in [0, 1].

    Args:
        folder: The run's folder, wherever it was moved.
        checkpoint: The weights of the highest validation AP, or the last ones; None takes what the run's
            `train.select` says.

    Raises:
        ConfigError: the config or the checkpoint is lost or damaged; no other file is needed.
    """
    return open_trained(folder, checkpoint, losses=True).model


def open_trained(folder: str | Path, checkpoint: CheckpointName | None = None, *, losses: bool = False) -> Trained:
    """Read a run's config and a checkpoint of it.

    Args:
        folder: The run's folder.
        checkpoint: Which one; None takes what the run's `train.select` says.
        losses: Inject the run's losses, too; without them, their packages need not be installed.

    Raises:
        ConfigError: the config or the checkpoint is lost or damaged, or is of an old version and lacks its data.
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
            f"{path} does not say what its labels mean ({place}: {first['msg']}). Fix: use the file that the run wrote."
        ) from error


def _from_checkpoint(config: TrainConfig, path: Path) -> TrainConfig:
    """The model with its trained weights, without the initial ones' files.

    Given weights, torchvision's builders freeze layers and norms; without, they do not.
    """
    begun = config.weights is not None or config.weights_backbone is not None
    return config.model_copy(update={"weights": str(path.resolve()) if begun else None, "weights_backbone": None})


def _training_data(config: TrainConfig, path: Path) -> DetectionDataset:
    try:
        return open_datasets(config)["train"]
    except DataError as error:
        raise ConfigError(
            f"{path} was written by an older detloss, without the names of its classes, and the run's data cannot be "
            f"read: {error}\nFix: put the data back where {path.with_name('config.yaml')} says."
        ) from error
