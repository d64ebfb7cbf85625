"""The config and the data sets of a run."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from detloss.config import is_path, load_config
from detloss.config.files import expanded
from detloss.errors import ConfigError, DataError
from detloss.models import check_model
from detloss.training.data.dataset import CocoDataset, DetectionDataset
from detloss.training.data.synthetic import ShapesDataset
from detloss.training.settings import SplitConfig, TrainConfig, absolute, absolute_overrides

Source = str | Path | Mapping[str, Any] | TrainConfig


def default_config() -> str:
    """The embedded config, a small Faster R-CNN on synthetic images."""
    return files("detloss.training").joinpath("default.yaml").read_text(encoding="utf-8")


def read_config(source: Source | None, overrides: Sequence[str] = (), folder: Path | None = None) -> TrainConfig:
    """Read a train config and make its paths absolute.

    Args:
        source: A file, a mapping or a `TrainConfig`; None is the embedded default.
        overrides: ``key.path=value`` settings on top of the config.
        folder: Base of relative paths in a mapping or in `overrides`, by default the current folder. In a file they
            are relative to the file's folder.

    Raises:
        ConfigError: the config is wrong.
    """
    folder = folder or Path.cwd()
    overrides = absolute_overrides(overrides, folder)
    if source is None:
        source = yaml.safe_load(default_config())
    if isinstance(source, (str, Path)):
        source = Path(expanded(str(source)))
    if isinstance(source, Mapping):  # the model's check searches the files
        source = {**source, **_weights(source, folder)}
    base = source.resolve().parent if isinstance(source, Path) else folder
    config = load_config(source, schema=TrainConfig, overrides=overrides, check=check_model)
    config = config.under(base)
    # Paths that are still relative did not come from a file; in the run's folder they would change their meaning.
    return config.model_copy(update=_weights(dict(config), folder))


def open_datasets(config: TrainConfig) -> dict[str, DetectionDataset]:
    """The data sets of a config by split, ``test`` if configured.

    Raises:
        ConfigError: the model cannot be trained on this data.
        DataError: the data cannot be read, or its splits do not fit together.
    """
    if config.model.startswith("keypointrcnn"):
        raise ConfigError(
            "Keypoints cannot be trained from a config yet. Fix: put the model into detloss.training.DetectionModule "
            "with your own data set whose targets have `keypoints`."
        )
    if config.data.shapes is not None:
        if config.model.startswith("maskrcnn"):
            raise ConfigError("Synthetic images have no masks. Fix: choose a model without masks, or give COCO data.")
        return {name: open_split(config, name) for name in ("train", "val", *["test"] * config.data.has_test)}
    datasets: dict[str, DetectionDataset] = {}
    for name in ("train", "val", "test"):
        split: SplitConfig | None = getattr(config.data, name)
        if split is not None:
            # Validation computes the mask loss too.
            masks = name != "test" and config.model.startswith("maskrcnn")
            datasets[name] = open_split(config, name, masks=masks)
            if datasets[name].categories != datasets["train"].categories:
                raise DataError(
                    f"{split.annotations} has other categories (found {', '.join(datasets[name].categories)}, expected "
                    f"{', '.join(datasets['train'].categories)}). Fix: use the categories of the training data."
                )
    if not datasets["train"].has_targets:
        skipped = datasets["train"].skipped
        why = f" {len(skipped)} annotations are skipped; the first: {skipped[0]}." if skipped else ""
        file = config.data.train and config.data.train.annotations
        raise DataError(f"{file} has no box to train on.{why} Fix: give annotated data.")
    return datasets


def open_split(config: TrainConfig, name: str, *, masks: bool = False) -> DetectionDataset:
    """One data set of a config, with masks for mask models.

    Raises:
        DataError: the data cannot be read.
    """
    if config.data.shapes is not None:
        return ShapesDataset(config.data.shapes, name)
    split: SplitConfig = getattr(config.data, name)
    return CocoDataset(
        split.images,
        split.annotations,
        masks=masks,
        bbox_check=config.data.bbox_check == "on",
        pixel_range=config.data.pixel_range,
    )


def with_classes(config: TrainConfig, data: DetectionDataset) -> TrainConfig:
    """The config with the number of classes of its training data.

    The background is included.

    Raises:
        ConfigError: it names another number.
    """
    expected = len(data.categories) + 1
    if config.num_classes not in (None, expected):
        raise ConfigError(
            f"num_classes is {config.num_classes}, but the training data has {len(data.categories)} categories "
            f"({', '.join(data.categories)}), {expected} with the background. Fix: write num_classes: "
            f"{expected}, or remove it."
        )
    return config.model_copy(update={"num_classes": expected})


def _weights(config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The absolute paths to weights in a config."""
    held = {key: config.get(key) for key in ("weights", "weights_backbone")}
    return {key: absolute(path, folder) for key, path in held.items() if isinstance(path, str) and is_path(path)}
