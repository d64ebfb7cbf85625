"""Configs: which model is built and which losses go into its heads.

A config is plain data (YAML, TOML, JSON or a mapping). It is validated in two steps: the envelope against
`ModelConfig`, then every spec against the Config of the loss that it names, and one error lists every finding of both.
A name is looked up among the installed plugins and is never an import path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from detloss.config.files import Document, read_document, read_yaml
from detloss.config.messages import KeyPath, dotted, found
from detloss.config.specs import ResolvedSpec, check_losses, plain, resolve_spec, validated
from detloss.errors import ConfigError, Finding
from detloss.loss import BoxRegressionLoss, LossSpec, NestedSpec
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
    # A section with every line commented out is null in YAML.
    return {} if value is None else value


def _several(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("names no loss; leave the head out to keep torchvision's own")
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
    """Classes, background included as in torchvision; left out, those of `weights`, else 91 (COCO)."""
    weights: str | None = None
    """Weights of the whole detector: a torchvision weights name (`DEFAULT`), or a path to a state dict."""
    weights_backbone: str | None = None
    """Weights of the backbone: a torchvision weights name, or a path to the state dict of a classifier."""
    backbone: str | None = None
    """Backbone with FPN for `fasterrcnn` and `maskrcnn`: `resnet18`, `mobilenet_v2`, ..."""
    options: Annotated[dict[str, Any], BeforeValidator(_empty_for_null)] = {}
    """Keyword arguments of the builder and of the model's class: `min_size`, `box_score_thresh`, ..."""
    losses: Annotated[dict[str, _Specs], BeforeValidator(_empty_for_null)] = {}
    """Head -> a loss: its name, a spec, or a list of specs that are summed."""


ConfigSource = str | os.PathLike[str] | Mapping[str, Any] | ModelConfig
"""A path, a mapping or a config."""
Spec = str | Mapping[str, Any] | NestedSpec
"""A loss's name, or its spec as a mapping, a `NestedSpec` or a `LossSpec`."""

TRAIN_SECTIONS = frozenset({"data", "train"})
"""What a train config has besides the keys of a `ModelConfig`."""
Check = Callable[[Document], None]
"""Notes findings in a document."""

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
        schema: What to read. Where that has no sections ``data`` and ``train``, those of a train config are ignored.
        overrides: ``key.path=value`` each, the value in YAML; they replace or add values and are validated alike.
        check: Notes more findings in the document: `detloss.models.check_model` knows torchvision's names.

    Raises:
        ConfigError: Anything is wrong; its ``findings`` list all of it with file, line, column and key.
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
    """Read a config as `load_config` does, and return the losses of its heads with it, found and checked."""
    overrides = tuple(overrides)
    with one_scan():
        document = _document(source, schema, overrides)
        config = validated(schema, document, document.data, (), "a config")
        losses = check_losses(document, document.data.get("losses"))
        if check is not None:
            check(document)
    if document.findings or config is None:
        raise ConfigError(document.findings)
    return (source if isinstance(source, schema) and not overrides else config), losses


def _document(source: ConfigSource, schema: type[ModelConfig], overrides: tuple[str, ...]) -> Document:
    """Read a config as plain data, with overrides and absolute paths, without the sections that are not asked for."""
    document = read_document(Path(source)) if isinstance(source, str | os.PathLike) else Document(source)
    document.data = plain(document.data, document)
    if not isinstance(document.data, dict):
        document.note((), f"a config is a mapping of keys to values, found {found((), document.data)}")
        raise ConfigError(document.findings)
    ignored = {*TRAIN_SECTIONS, "$schema"} - schema.model_fields.keys()
    for override in overrides:
        _override(document, override)
    document.data = {key: value for key, value in document.data.items() if key not in ignored}
    document.findings = [each for each in document.findings if each.key.partition(".")[0] not in ignored]
    _resolve_paths(document)
    return document


def check_spec(spec: Spec) -> ResolvedSpec:
    """Find the loss that a spec names and validate its parameters, without building it.

    Raises:
        PluginError: The name does not stand for one loss that can be loaded.
        ConfigError: A parameter is wrong, here or in a loss within it.
    """
    document = Document(None)
    with one_scan():
        resolved = resolve_spec(document, spec)
    if resolved is None or document.findings:
        raise ConfigError(document.findings)
    return resolved


def build_loss(spec: Spec) -> BoxRegressionLoss:
    """Build the loss that a spec names, by itself: it has no weight and no normalizer.

    Raises:
        PluginError: The name does not stand for one loss that can be loaded.
        ConfigError: A parameter is wrong, or the spec says what only a head can do.
    """
    with one_scan():
        resolved = check_spec(spec)
        if beside := sorted(resolved.spec.model_fields_set & _ENVELOPE_OF_A_HEAD):
            raise ConfigError(
                f"build_loss: a loss by itself has no {beside[0]!r}, which is a head's. Give it to `inject`, or to the "
                "section losses of a config; or multiply what the loss returns."
            )
        return resolved.build()


def is_path(weights: str) -> bool:
    """Tell a path to weights from the name of torchvision weights."""
    return Path(weights).name != weights or weights.lower().endswith(_WEIGHT_SUFFIXES)


_ENVELOPE_OF_A_HEAD = LossSpec.model_fields.keys() - NestedSpec.model_fields.keys()
_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")


def _override(document: Document, override: str) -> None:
    """Put the value of ``key.path=value`` into the data, or note why it cannot be put there."""
    key, sign, text = override.partition("=")
    steps = [part.strip() for part in key.split(".")]

    def note(message: str, below: str = "") -> None:
        key = ".".join(filter(None, (dotted(steps), below))) if sign else ""
        document.findings.append(Finding(message, key, override=True))

    if not sign or not all(steps):
        return note(f"an override is key.path=value, found {found(steps, override)}")
    value = Document(None)
    try:
        read_yaml(text, value)
    except ConfigError as error:
        value.findings = list(error.findings)
    for finding in value.findings:
        note(finding.message, finding.key)
    target: Any = document.data
    path: KeyPath = ()
    for step in steps:
        if isinstance(target, str) and path[:1] == ("losses",) and path[-1] != "name":
            target = _put(document.data, path, {"name": target})  # a loss given by its name alone
        elif target is None:
            target = _put(document.data, path, {})
            document.overridden.add(path)
        if isinstance(target, list) and not (step.isdecimal() and int(step) < len(target)):
            return note(f"{dotted(path)} is a list of {len(target)}, which has no item {step!r}; items count from 0")
        if not isinstance(target, dict | list):
            return note(f"{dotted(path)} is {found(path, target)}, which has no keys; override the whole of it")
        inside = dict(enumerate(target)) if isinstance(target, list) else target
        path = (*path, int(step) if isinstance(target, list) else step)
        target = inside.get(path[-1])
    document.overridden.add(path)
    _put(document.data, path, plain(value.data, document, path))
    return None


def _put(data: Any, path: KeyPath, value: Any) -> Any:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value
    return value


def _resolve_paths(document: Document) -> None:
    """Make the paths to weights absolute that the file gave relative to itself."""
    for key in ("weights", "weights_backbone"):
        value = document.data.get(key)
        if (
            document.file is not None
            and isinstance(value, str)
            and is_path(value)
            and (key,) not in document.overridden
        ):
            document.data[key] = str((Path(document.file).parent / value).resolve())
