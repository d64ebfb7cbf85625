"""Configs: which model is built and which losses go into its heads.

A config is plain data (YAML, TOML, JSON or a mapping). It is validated in two steps: the envelope against
`ModelConfig`, then every spec against the Config of the loss that it names, and one error lists every finding of both.
A name is looked up among the installed plugins and is never an import path.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from detloss.config.document import Document, Notes
from detloss.config.files import expanded, read_document
from detloss.config.messages import found
from detloss.config.overrides import with_overrides
from detloss.config.specs import ResolvedSpec, Spec, build_loss, check_losses, check_spec, validated
from detloss.errors import ConfigError
from detloss.loss import LossSpec
from detloss.registry import one_scan

__all__ = [
    "TRAIN_SECTIONS",
    "Check",
    "ConfigSource",
    "ModelConfig",
    "ResolvedSpec",
    "Spec",
    "build_loss",
    "check_spec",
    "is_path",
    "load_config",
]


def _empty_for_null(value: Any) -> Any:
    # In YAML, a section with all lines commented out is null.
    return {} if value is None else value


def _several(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("names no loss. Fix: remove the head to keep torchvision's own")
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_Specs = Annotated[tuple[LossSpec, ...], BeforeValidator(_several)]


class ModelConfig(BaseModel):
    """A detector of torchvision and the losses in its heads."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    model: str
    """A builder of torchvision.models.detection, or `fasterrcnn` / `maskrcnn` together with `backbone`."""
    num_classes: int | None = Field(default=None, ge=2)
    """Classes, including the background; by default those of `weights`, else 91 (COCO)."""
    weights: str | None = None
    """Weights of the whole detector: a torchvision weights name (`DEFAULT`), or a path to a state dict."""
    weights_backbone: str | None = None
    """Weights of the backbone: a torchvision weights name, or a path to the state dict of a classifier."""
    backbone: str | None = None
    """Backbone of `fasterrcnn` and `maskrcnn`: `tiny`, or one with FPN: `resnet18`, `mobilenet_v2`, ..."""
    options: Annotated[dict[str, Any], BeforeValidator(_empty_for_null)] = {}
    """Keyword arguments of the builder and of the model's class: `min_size`, `box_score_thresh`, ..."""
    losses: Annotated[dict[str, _Specs], BeforeValidator(_empty_for_null)] = {}
    """Head -> a loss: its name, a spec, or a list of specs that are summed."""


ConfigSource = str | os.PathLike[str] | Mapping[str, Any] | ModelConfig
"""A path, a mapping or a config."""
TRAIN_SECTIONS = frozenset({"data", "train"})
"""What a train config has besides the keys of a `ModelConfig`."""
Check = Callable[[Notes], None]
"""Notes what is wrong with a config."""

Schema = TypeVar("Schema", bound=ModelConfig)


@overload
def load_config(source: ConfigSource, *, overrides: Iterable[str] = (), check: Check | None = None) -> ModelConfig: ...
@overload
def load_config(
    source: ConfigSource, schema: type[Schema], overrides: Iterable[str] = (), *, check: Check | None = None
) -> Schema: ...
def load_config(
    source: ConfigSource,
    schema: type[ModelConfig] = ModelConfig,
    overrides: Iterable[str] = (),
    *,
    check: Check | None = None,
) -> ModelConfig:
    """Read and validate a config.

    A relative path to weights in a file is relative to that file; anywhere else, to the current folder.

    Args:
        source: Path of a ``.yaml``, ``.yml``, ``.toml`` or ``.json`` file, a mapping, or a config.
        schema: What to read. A schema without ``data`` and ``train`` ignores these sections of a train config.
        overrides: ``key.path=value`` each, the value in YAML. They replace or add values, and are validated too.
        check: Notes more findings in the document: `detloss.models.check_model` knows torchvision's names.

    Raises:
        ConfigError: The config is wrong; its ``findings`` list all errors with file, line, column and key.
    """
    config, _ = resolve_config(source, schema, overrides, check=check)
    return config


def resolve_config(
    source: ConfigSource,
    schema: type[Schema],
    overrides: Iterable[str] = (),
    *,
    check: Check | None = None,
) -> tuple[Schema, dict[str, tuple[ResolvedSpec, ...]]]:
    """Read a config and resolve the losses of its heads."""
    overrides = tuple(overrides)
    with one_scan():
        notes = Notes(_read(source, schema, overrides))
        data = notes.document.data
        config = validated(schema, notes, data, (), "a config")
        losses = check_losses(notes, data.get("losses"))
        if check is not None:
            check(notes)
    if notes.findings or config is None:
        raise ConfigError(notes.findings)
    return (source if isinstance(source, schema) and not overrides else config), losses


def is_path(weights: str) -> bool:
    """Tell a path to weights from the name of torchvision weights."""
    return Path(weights).name != weights or weights.lower().endswith(_WEIGHT_SUFFIXES)


_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")


def _read(source: ConfigSource, schema: type[ModelConfig], overrides: tuple[str, ...]) -> Document:
    """Read a config as plain data, with overrides and absolute paths.

    Sections that are not asked for are removed.
    """
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    document = (read_document(path) if path else Document(source)).as_plain()
    if not isinstance(document.data, dict):
        notes = Notes(document)
        notes.note((), f"a config is a mapping of keys to values, found {found((), document.data)}")
        raise ConfigError(notes.findings)
    document = with_overrides(document, overrides)
    ignored = {*TRAIN_SECTIONS, "$schema"} - schema.model_fields.keys()
    data = {key: value for key, value in document.data.items() if key not in ignored}
    for key in ("weights", "weights_backbone"):
        value = data.get(key)
        if isinstance(value, str) and is_path(value):
            value = expanded(value)
            data[key] = str((path.parent / value).resolve()) if path and key not in document.overridden else value
    findings = tuple(each for each in document.findings if each.key.partition(".")[0] not in ignored)
    return replace(document, data=data, findings=findings)
