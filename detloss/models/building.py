"""Builds torchvision's detectors from a config."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_builder
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from detloss.config import ConfigSource, ModelConfig, is_path, resolve_config
from detloss.errors import ConfigError
from detloss.injection import inject
from detloss.models.architecture import REFUSALS, TRAINABLE, Architecture, accepted_options, find_architecture
from detloss.models.checks import check_model
from detloss.models.pretrained import (
    COUNTS,
    check_matches,
    member_of_state,
    read_checkpoint,
    read_state,
    renew_predictors,
)
from detloss.registry import one_scan

log = logging.getLogger(__name__)


def build_model(config: ConfigSource, overrides: Iterable[str] = ()) -> nn.Module:
    """Build the detector that a config describes and inject its losses.

    If `weights` were trained for other numbers of classes or keypoints, their predictors are new and everything else is
    kept. Nothing is downloaded.

    Args:
        config: A path, a mapping or a `ModelConfig`; the sections of a train config are ignored.
        overrides: ``key.path=value`` each, as in `load_config`.

    Raises:
        ConfigError: The config is wrong, or weights are missing or do not match.
        PluginError: A loss cannot be loaded.
        InjectionError: The model has no such head.
    """
    with one_scan():
        config, losses = resolve_config(config, ModelConfig, overrides, check=check_model)
        architecture = find_architecture(config.model, config.backbone)
        try:
            model = _pretrained(architecture, config) if config.weights else _untrained(architecture, config)
        except REFUSALS as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{config.model} cannot be built: {error}") from error
        return inject(model, losses)


def _untrained(architecture: Architecture, config: ModelConfig) -> nn.Module:
    """Build a detector with new weights, on a pretrained backbone if configured."""
    options = dict(config.options)
    if config.num_classes is not None:
        options["num_classes"] = config.num_classes
    if config.weights_backbone is None:
        return architecture.build(**options)
    enum = architecture.backbone_weights
    assert enum is not None  # `check_model` refuses weights of a backbone that has none
    if not is_path(config.weights_backbone):
        member = _member(enum, config.weights_backbone)
        _check_cached(member)
        return architecture.build(weights_backbone=member, **options)
    state = read_state(config.weights_backbone)
    # The last tensor of a classifier is the bias of its output. The detector does not have that layer.
    classes = next(reversed(state.values())).shape[:1].numel()
    with torch.device("meta"):
        classifier = get_model_builder(architecture.backbone)(weights=None, num_classes=classes)
    check_matches(config.weights_backbone, state, classifier)
    member = member_of_state(enum, state, {"num_classes": classes})
    return architecture.build(weights_backbone=member, **options)


def _pretrained(architecture: Architecture, config: ModelConfig) -> nn.Module:
    """Build with the weights of a whole detector, and new predictors."""
    weights = str(config.weights)
    options = {key: value for key, value in config.options.items() if key not in COUNTS}
    if architecture.weights is not None and not is_path(weights):
        member = _member(architecture.weights, weights)
        _check_cached(member)
        counts = {name: len(member.meta[key]) for name, key in COUNTS.items() if key in member.meta}
    else:
        state = read_state(weights)
        bare = {key: value for key, value in options.items() if key != TRAINABLE}
        counts = _counts(architecture, bare, state)
        with torch.device("meta"):
            check_matches(weights, state, architecture.build(**bare, **counts))
        member = member_of_state(architecture.weights or FasterRCNN_ResNet50_FPN_Weights, state, counts)
    model = architecture.build(weights=member, **options, **counts)
    wanted = counts | {key: value for key, value in config.options.items() if key in COUNTS}
    if config.num_classes is not None:
        wanted["num_classes"] = config.num_classes
    if wanted != counts:
        options.pop(TRAINABLE, None)
        new = renew_predictors(model, architecture.build(**options, **wanted))
        there, here = (", ".join(f"{name} {count}" for name, count in each.items()) for each in (counts, wanted))
        log.info("%s starts untrained: the weights %s have %s, the model has %s.", ", ".join(new), weights, there, here)
    return model


def _counts(architecture: Architecture, options: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the class and keypoint counts that a checkpoint was trained for.

    They are lengths of known tensors.
    """
    names = ["num_classes"]
    if "num_keypoints" in accepted_options(architecture):
        names.append("num_keypoints")
    counts = {}
    for name in names:
        with torch.device("meta"):
            two, three = (architecture.build(**options, **{name: count}).state_dict() for count in (2, 3))
        for key, tensor in two.items():
            step = three[key].shape[:1].numel() - tensor.shape[:1].numel() if tensor.ndim else 0
            if step and key in state and state[key].ndim:
                counts[name] = 2 + (len(state[key]) - len(tensor)) // step
                break
    return counts


def _member(enum: type[WeightsEnum], name: str) -> WeightsEnum:
    member: WeightsEnum = enum[name.removeprefix(f"{enum.__name__}.")]
    return member


def _check_cached(member: WeightsEnum) -> None:
    """Refuse weights that need a download, or whose file runs code.

    Raises:
        ConfigError: The file is not in torch's hub cache, or holds more than tensors.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / member.url.rpartition("/")[2]
    if not file.is_file():
        raise ConfigError(
            f"weights {member}: {file} is missing, and building a model downloads nothing. Fix: download it with\n"
            f'  python -c "import torch; torch.hub.load_state_dict_from_url({member.url!r})"\n'
            f"or download {member.url} yourself and put it there, or give its path as the weights."
        )
    read_checkpoint(file)  # torchvision itself reads it without torch's guard
