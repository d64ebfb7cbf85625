"""Finds what torchvision does not accept in a config."""

from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import WeightsEnum

from detloss.config import ModelConfig, is_path
from detloss.config.document import Notes
from detloss.config.messages import dotted, found, hint
from detloss.errors import MAX_SHOWN, PluginError
from detloss.models.architecture import (
    FPN_MODELS,
    MODULE_OPTIONS,
    REFUSALS,
    TRAINABLE,
    Architecture,
    accepted_options,
    backbones,
    detectors,
    find_architecture,
)
from detloss.registry import HEAD_GROUP, get_plugin
from detloss.text import did_you_mean, near


def check_model(notes: Notes) -> None:
    """Note what torchvision does not accept in a config.

    That is: names of model, weights and backbone, and options.
    """
    data = notes.document.data
    model, backbone = data.get("model"), data.get("backbone")
    if not isinstance(model, str) or not isinstance(backbone, str | None):
        return
    if not _check_names(notes, model, backbone):
        return
    architecture = find_architecture(model, backbone)
    _check_weights(notes, "weights", architecture.weights, f"the model {model}")
    _check_weights(notes, "weights_backbone", architecture.backbone_weights, f"the backbone {architecture.backbone}")
    if data.get("weights") is not None and data.get("weights_backbone") is not None:
        notes.note(("weights_backbone",), "has no effect: weights include the backbone. Fix: remove one of them")
    options = data.get("options") or {}
    if not isinstance(options, Mapping) or not _check_options(notes, architecture, options):
        options = {}  # which heads there are does not depend on them
    with torch.device("meta"):
        try:
            skeleton = architecture.build(**{key: options[key] for key in options if key != TRAINABLE})
        except REFUSALS as error:
            notes.note(("options",), f"{model} cannot be built with these options: {error}")
            skeleton = architecture.build()
    losses = data.get("losses")
    for head in losses if isinstance(losses, Mapping) and len(notes.findings) < MAX_SHOWN else ():
        _check_head(notes, skeleton, model, head)


def _check_names(notes: Notes, model: str, backbone: str | None) -> bool:
    """Note an unknown model or backbone; tell whether they name an architecture."""
    key, name, known = "model", model, detectors()
    problem = f"{found((), model)} is not a detector of torchvision"
    if model in FPN_MODELS:
        key, name, known = ("backbone" if backbone else "model"), backbone or "", backbones()
        problem = f"{found((), backbone)} is not a backbone with FPN" if backbone else f"{model} needs a backbone"
    if name not in known:
        close = near(name, known)
        notes.note((key,), problem + did_you_mean(close, f"There are: {', '.join(known)}"), close)
        return False
    if backbone is not None and model not in FPN_MODELS:
        general = " and ".join(FPN_MODELS)
        notes.note(("backbone",), f"{model} has its own backbone; only {general} take one. Fix: remove it", at_key=True)
        return False
    return True


def _check_weights(notes: Notes, key: str, enum: type[WeightsEnum] | None, owner: str) -> None:
    weights = notes.document.data.get(key)
    if not isinstance(weights, str):
        return
    names = [] if enum is None else ["DEFAULT", *(member.name for member in enum)]
    if enum is None and key == "weights_backbone":
        notes.note((key,), f"torchvision has no weights for {owner}. Fix: give `weights` of a whole detector, or null")
    elif is_path(weights):
        if not Path(weights).is_file():
            notes.note((key,), f"the file {found((key,), weights)} does not exist")
    elif enum is None:
        notes.note((key,), f"torchvision has no weights for {owner} on this backbone. Fix: give a path, or null")
    elif weights.removeprefix(f"{enum.__name__}.") not in names:
        close = near(weights.rpartition(".")[2], names)
        advice = did_you_mean(close, f"Fix: give null, a path or one of {', '.join(names)}")
        notes.note((key,), f"unknown weights for {owner}{advice}", near=close)


def _check_options(notes: Notes, architecture: Architecture, options: Mapping[str, Any]) -> bool:
    """Note unknown options of the builder; tell if there are none."""
    before = len(notes.findings)
    noted = {finding.key for finding in notes.findings}
    accepted = accepted_options(architecture)
    for key, value in options.items():
        path = ("options", key)
        if key in ModelConfig.model_fields:
            notes.note(path, f"{key} is not an option. Fix: write it at the top level of the config", at_key=True)
        elif key in MODULE_OPTIONS:
            notes.note(
                path,
                f"{key} is not possible in a config. Fix: build the model yourself and use detloss.inject",
                at_key=True,
            )
        elif key not in accepted:
            close = near(key, accepted)
            takes = f"{notes.document.data['model']} takes {', '.join(sorted(accepted))}"
            notes.note(path, f"unknown option{did_you_mean(close, takes)}", near=close, at_key=True)
        elif value is None and dotted(path) in noted:
            continue  # this value was not plain data
        elif not _is_like(value, accepted[key]):
            advice = f". {advice}" if (advice := hint(path, value)) else ""
            default = f" (default {accepted[key]})" if accepted[key] is not None else ""
            notes.note(path, f"should be a number or a list of numbers{default}, found {found(path, value)}{advice}")
        elif key == TRAINABLE and not (
            notes.document.data.get("weights") or notes.document.data.get("weights_backbone")
        ):
            notes.note(path, "has no effect without weights or weights_backbone. Fix: remove it, or name weights")
    return len(notes.findings) == before


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_like(item, default) for item in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, int | float) or (value is None and default in {None, Parameter.empty})


def _check_head(notes: Notes, skeleton: nn.Module, model: str, head: str) -> None:
    """Note a head that the model does not have.

    Unknown heads are noted where specs are checked.
    """
    try:
        adapter: Any = get_plugin(head, group=HEAD_GROUP).cls
    except PluginError:
        return
    if not any(isinstance(module, adapter.adapts) for module in skeleton.modules()):
        notes.note(("losses", head), f"{model} has no head {head!r} (no {adapter.adapts.__name__})", at_key=True)
