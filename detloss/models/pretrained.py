"""State dicts in files: read without running code, compared, and built with."""

import re
import warnings
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from detloss.errors import ConfigError

COUNTS = {"num_classes": "categories", "num_keypoints": "keypoint_names"}
"""Builder option that sets the size of predictors -> key of the counted names in torchvision's weights."""

Weights = TypeVar("Weights", bound=Enum)


def read_checkpoint(path: str | Path) -> Any:
    """Read tensors and plain values of `torch.save`; never run code.

    Raises:
        ConfigError: The file cannot be read, is damaged, or holds other objects.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch recommends functions that would run code
            if path.is_file() and path.stat().st_size:
                # An explicit argument wins over TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.
                return torch.load(path, map_location="cpu", weights_only=True)
            what = "is empty" if path.is_file() else "is not a file" if path.exists() else "does not exist"
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # torch raises anything on bytes that are not a checkpoint
        # Torch's own message says how to turn its guard off.
        raise ConfigError(
            f"{path} is damaged, is not a checkpoint of torch, or holds objects that could run code "
            "(expected only tensors and plain values)."
        ) from error
    raise ConfigError(f"{path} {what}.")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict, or a checkpoint that holds one.

    It is found under ``model`` or ``state_dict``.

    A prefix ``model.`` or ``module.`` of all keys (Lightning, DDP) is removed. The state of injected losses is ignored:
    it belongs to the loss, not to the detector.

    Raises:
        ConfigError: The file cannot be read, holds more than tensors, or has no state dict.
    """
    try:
        state = read_checkpoint(path)
    except ConfigError as error:
        raise ConfigError(
            f"weights {error} Fix: write a state dict with `torch.save(model.state_dict(), path)`."
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise ConfigError(
            f"weights {path}: found {_describe(state)}, expected a state dict. Fix: write one with "
            "`torch.save(model.state_dict(), path)`."
        )
    for prefix in ("model.", "module."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {key: value for key, value in state.items() if _INJECTED not in key.split(".")}


def check_matches(path: str | Path, state: Mapping[str, Tensor], model: nn.Module) -> None:
    """Check that a state dict fits a model's keys and shapes.

    The model may be on the meta device.

    The counters of batch normalization are not compared: torchvision's frozen kind has none.

    Raises:
        ConfigError: Keys are missing or unexpected, or shapes differ; it names the first few.
    """
    expected = {key: value.shape for key, value in model.state_dict().items() if not key.endswith(_COUNTER)}
    given = {key: value.shape for key, value in state.items() if not key.endswith(_COUNTER)}
    differing = [
        f"{key} {tuple(given[key])}, not {tuple(expected[key])}"
        for key in given
        if key in expected and given[key] != expected[key]
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:_NAMED])}{', ...' if len(keys) > _NAMED else ''}"
        for what, keys in (
            ("keys are missing", [key for key in expected if key not in given]),
            ("keys are unexpected", [key for key in given if key not in expected]),
            ("shapes differ", differing),
        )
        if keys
    ]
    if problems:
        raise ConfigError(
            f"weights {path}: does not match {type(model).__name__}. {'; '.join(problems)}. "
            "Fix: give weights of this architecture, or choose the model of these weights."
        )


def member_of_state(enum: type[Weights], state: Mapping[str, Tensor], counts: Mapping[str, int]) -> Weights:
    """Return a member of a builder's weights, but with this state dict.

    Builders freeze layers and norms only with weights, and take weights only from their enum.
    """
    member = object.__new__(enum)
    template = next(iter(enum)).value
    meta = {COUNTS[name]: [str(i) for i in range(count)] for name, count in counts.items()}
    member._name_ = "FILE"
    member._value_ = type(template)(url="", transforms=template.transforms, meta=meta)
    vars(member)["get_state_dict"] = lambda *_, **__: state
    return member


def renew_predictors(model: nn.Module, fresh: nn.Module) -> list[str]:
    """Take predictors of another size from `fresh`, and return their paths.

    A predictor of an R-CNN is replaced, as in torchvision's fine-tuning tutorial. In a dense classification head, only
    the layers of the classes are.
    """
    old, new = model.state_dict(), fresh.state_dict()
    differing = (key for key in new if key in old and old[key].shape != new[key].shape)
    paths = sorted({match[0] for key in differing if (match := _PREDICTOR.match(key))})
    for path in paths:
        module = fresh.get_submodule(path)
        if path.endswith("classification_head"):
            shapes = {key: value.shape for key, value in module.state_dict().items()}
            kept = model.get_submodule(path).state_dict()
            module.load_state_dict({k: v for k, v in kept.items() if v.shape == shapes[k]}, strict=False)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, module)
    return paths


_PREDICTOR = re.compile(r".*?(?:_predictor|classification_head)(?=\.)")
_COUNTER = "num_batches_tracked"
_INJECTED = "detloss"  # the submodule that holds the losses of a head
_NAMED = 3  # keys named in a message


def _describe(state: object) -> str:
    if isinstance(state, Mapping):
        return f"a mapping with {', '.join(map(repr, list(state)[:_NAMED])) or 'nothing in it'}"
    return f"a {type(state).__name__}"
