"""`TrainConfig`: a `ModelConfig` plus `data` and `train`.

One flat file holds all of it. Every model is frozen, strict and without extra keys, so a mistyped key is an error. A
relative path in a file is relative to that file; on the command line (``--set``), to the current folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detloss.config import ModelConfig
from detloss.config.files import expanded
from detloss.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class SplitConfig(_Section):
    """One split of a COCO data set."""

    images: str
    """Folder that the annotations' `file_name` entries are relative to."""
    annotations: str
    """COCO JSON file (instances)."""

    def under(self, folder: Path) -> SplitConfig:
        """The split with absolute paths, relative ones from `folder`."""
        return SplitConfig(images=absolute(self.images, folder), annotations=absolute(self.annotations, folder))


class ShapesConfig(_Section):
    """Synthetic ellipses, rectangles and triangles instead of files.

    The same seed gives the same images.
    """

    train: int = Field(2000, ge=1)
    """Number of training images."""
    val: int = Field(200, ge=1)
    """Number of validation images."""
    test: int = Field(0, ge=0)
    """Number of test images; 0 for no test data. The others do not depend on it."""
    seed: int = Field(0, ge=0)
    """Seed that decides every image."""
    size: int = Field(96, ge=32, le=4096)
    """Side of the square images in pixels."""
    max_objects: int = Field(5, ge=0)
    """Most objects in one image; one image in ten has none."""


class AugmentConfig(_Section):
    """Random changes of a training image and its boxes (torchvision.transforms.v2)."""

    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    scale_jitter: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)] | None = None
    """Least and greatest factor on the content's size; the image keeps its own size (cropped or padded)."""
    photometric: bool = False
    """Random brightness, contrast, saturation and hue (as in the SSD paper)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_jitter is not None and self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter must be [least, greatest] (found {self.scale_jitter})")
        return self


class DataConfig(_Section):
    """The training data: COCO splits, or synthetic images."""

    train: SplitConfig | None = None
    """Images and annotations to train on."""
    val: SplitConfig | None = None
    """Images and annotations to evaluate on; their highest AP decides the best checkpoint."""
    test: SplitConfig | None = None
    """Images and annotations to evaluate on at the end, with the checkpoint of `train.select`."""
    shapes: ShapesConfig | None = None
    """Synthetic images; instead of `train` and `val`."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of the training images."""
    bbox_check: Literal["on", "off"] = "on"
    """Refuse a file whose boxes look normalized (all in [0, 1]), or like corners x1, y1, x2, y2."""
    pixel_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Pixel values that become 0 and 1, [low, high], in all images; null is for 8 bits, 16 bits and float in [0, 1]."""
    workers: int = Field(0, ge=0)
    """Processes that load images; 0 loads them in the training process."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        files = (self.train, self.val, self.test)
        if self.shapes is not None and any(files):
            raise ValueError("both `shapes` and splits are given. Fix: remove either `shapes` or the splits")
        if self.shapes is None and (self.train is None or self.val is None):
            raise ValueError(
                "training data is missing. Fix: give `shapes`, or `train` and `val` with `images` and `annotations`"
            )
        if self.pixel_range is not None and not self.pixel_range[0] < self.pixel_range[1]:
            raise ValueError(f"pixel_range must be [low, high] with low < high (found {self.pixel_range})")
        return self

    @property
    def has_test(self) -> bool:
        """Whether there is a test split."""
        return self.test is not None or (self.shapes is not None and self.shapes.test > 0)

    def under(self, folder: Path) -> DataConfig:
        """The data with absolute paths, relative ones from `folder`."""
        splits = {name: getattr(self, name) for name in ("train", "val", "test")}
        return self.model_copy(update={name: split.under(folder) for name, split in splits.items() if split})


class FitConfig(_Section):
    """How the model is trained.

    The optimizer is torch's; everything below `accumulate` is Lightning's.
    """

    epochs: int = Field(12, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(8, ge=1)
    """Images per batch, in each process."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """torch.optim's AdamW, or SGD with `momentum`."""
    lr: float = Field(5e-4, gt=0)
    """Learning rate; with `onecycle` its peak."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay; not applied to biases and normalization layers."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; AdamW keeps its betas."""
    schedule: Literal["onecycle", "cosine", "step", "constant"] = "onecycle"
    """How the learning rate changes over the steps of the whole run."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Fraction of all steps in which the learning rate rises."""
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = [0.67, 0.92]
    """Fractions of all steps at which `step` divides the learning rate by 10 (COCO's 1x: 8 and 11 of 12 epochs)."""
    clip: float | None = Field(None, gt=0)
    """Greatest norm of the gradient; null does not clip."""
    guard: Literal["raise", "skip", "off"] = "raise"
    """A step whose loss or gradient is NaN or infinite is an error, skipped, or (`off`) taken."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are averaged into one step."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"] = "32-true"
    """Lightning's precision."""
    channels_last: bool = False
    """Hold weights and images with the channels innermost: faster on most GPUs with 16 bits."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, mps, ..."""
    devices: Literal["auto"] | Annotated[int, Field(ge=-1)] | list[int] = "auto"
    """Number of devices (on a CPU: of processes), or their indices; -1 for all."""
    num_nodes: int = Field(1, ge=1)
    """Number of machines."""
    strategy: str = "auto"
    """Lightning's strategy: auto, ddp, ddp_find_unused_parameters_true, ..."""
    deterministic: bool = False
    """Refuse operations that have no deterministic implementation (on a GPU)."""
    seed: int = Field(0, ge=0)
    """Seed of initial weights, order, augmentation and the heads' sampling."""
    validate_every: int = Field(1, ge=1)
    """Epochs between two evaluations; the last epoch is always evaluated."""
    select: Literal["best", "last"] = "best"
    """Checkpoint for the test data and for later use: that of the highest validation AP, or the last one."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between two checkpoints within an epoch, in addition to that at its end."""
    log_every: int = Field(10, ge=1)
    """Steps between two lines of training losses in metrics.jsonl."""
    pictures: int = Field(6, ge=0)
    """Number of validation images with predictions in predictions.png."""
    threads: int | None = Field(None, ge=1)
    """Threads of torch on a CPU; null lets torch decide. The last bits of the results depend on it."""
    loggers: list[Literal["csv", "tensorboard", "wandb", "mlflow"]] = []
    """Further loggers of Lightning, each in its own package; metrics.jsonl is always written."""


class TrainConfig(ModelConfig):
    """The file that `detloss train` takes: model, losses, data, training."""

    data: DataConfig
    """The training data."""
    train: FitConfig = FitConfig()
    """The settings of training."""

    def under(self, folder: Path) -> TrainConfig:
        """The config with absolute data paths, relative ones from `folder`."""
        return self.model_copy(update={"data": self.data.under(folder)})


def absolute(path: str, folder: Path = Path()) -> str:
    """A path without ``~``; a relative one is relative to `folder`.

    Raises:
        ConfigError: it holds a NUL.
    """
    if "\0" in path:
        raise ConfigError(f"The path {path!r} holds a NUL. Fix: remove it.")
    return str((folder / expanded(path)).resolve())


def absolute_overrides(overrides: Iterable[str], folder: Path = Path()) -> list[str]:
    """Make paths in ``key.path=value`` overrides absolute.

    On the command line they are relative to the current folder.
    """
    return [_absolute(override, folder) for override in overrides]


_PATH_KEYS = frozenset(f"data.{split}.{key}" for split in ("train", "val", "test") for key in SplitConfig.model_fields)


def _absolute(override: str, folder: Path) -> str:
    key, sign, value = override.partition("=")
    if sign and key.strip() in _PATH_KEYS and value not in ("", "null"):
        return f"{key}={absolute(value, folder)}"
    return override


def as_plain(config: TrainConfig) -> dict[str, Any]:
    """The config as plain values for YAML or JSON."""
    return config.model_dump(mode="json")
