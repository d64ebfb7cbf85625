"""Checks a run's folder before resuming or reading, and repairs files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from detloss.errors import ConfigError
from detloss.models.pretrained import read_checkpoint
from detloss.text import clipped
from detloss.training.callbacks import read_metrics
from detloss.training.checkpoints import AtomicCheckpointIO
from detloss.training.module import DetectionModule
from detloss.training.optimization import parameter_groups


def resumed_folder(path: Path) -> Path:
    """The run folder of `path`: itself, or the parent of ``last.ckpt``.

    Raises:
        ConfigError: it is a ``best.ckpt``, which holds only weights; the message has the fix.
    """
    if path.name == "best.ckpt" and path.is_file():
        folder = path.parent
        raise ConfigError(
            f"{path} holds only the weights of the best epoch; training cannot resume from it. "
            "Fix: continue from the last checkpoint with\n"
            f"  detloss train --resume {_quoted(folder)}\n"
            "or start a new run from these weights with\n"
            f"  {_new_run(folder, path)}"
        )
    return path.parent if path.name == "last.ckpt" else path


def read_last(folder: Path, module: DetectionModule) -> dict[str, Any] | None:
    """Read the checkpoint to resume from; None before the first one.

    Losses and optimizer settings may differ from the config.

    Raises:
        ConfigError: it is lost or damaged, or does not fit model and optimizer; the message has the fix.
    """
    path = folder / "last.ckpt"
    lines = read_metrics(folder / "metrics.jsonl")
    if not path.exists():
        later = [name for name in ("best.ckpt", "metrics.json") if (folder / name).exists()]
        later += ["metrics.jsonl"] * any(line["epoch"] > 1 for line in lines)
        if not later:
            return None
        raise broken(path, f"is missing, although {later[0]} was written after it")
    saved = read_weights(path, module, _Resumable)
    groups = saved["optimizer_states"][0]["param_groups"]
    own = parameter_groups(module.model, module.config.weight_decay)
    if ("momentum" in groups[0]) != (module.config.optimizer == "sgd"):
        what = f"the state of another optimizer than {module.config.optimizer}"
    elif [len(group["params"]) for group in groups] != [len(group["params"]) for group in own]:
        what = "the state of an optimizer that trains other parameters"
    else:
        return saved
    raise _of_another_run(path, what)


def restore_best(folder: Path, last: Mapping[str, Any], module: DetectionModule) -> None:
    """Make sure that ``best.ckpt`` is readable, else copy ``last.ckpt``'s weights.

    They are copied only if they are the best ones.

    Raises:
        ConfigError: it is lost; the message has the fix.
    """
    path, step = folder / "best.ckpt", last["callbacks"]["Checkpoints"]["best_step"]
    if step is None:
        return
    try:
        found = read_weights(path, module)["global_step"]
    except ConfigError:
        if last["global_step"] != step:
            raise
        found = None
    if found != step == last["global_step"]:  # killed before it was written, or damaged since
        weights = {key: value for key, value in last.items() if key not in _STATES}
        AtomicCheckpointIO().save_checkpoint(weights, path)


def read_weights(path: Path, module: DetectionModule, content: type[_Weights] | None = None) -> dict[str, Any]:
    """Read a checkpoint with `content` whose weights fit a model.

    Raises:
        ConfigError: it is lost or damaged, or does not fit; the message has the fix.
    """
    saved = read_saved(path, content)
    check_fits(saved, path, module)
    return saved


def read_saved(path: Path, content: type[_Weights] | None = None) -> dict[str, Any]:
    """Read a checkpoint with weights and `content`.

    Raises:
        ConfigError: it is lost or damaged; the message has the fix.
    """
    try:
        saved: dict[str, Any] = read_checkpoint(path)
        (content or _Weights).model_validate(saved)
    except ValidationError as error:
        first = error.errors()[0]
        place = clipped(".".join(map(str, first["loc"])) or "all of it")
        raise broken(path, f"is not a file of a run ({place}: {first['msg']})") from error
    except ConfigError as error:
        raise broken(path, str(error).removeprefix(f"{path} ").removesuffix(".")) from error
    return saved


def check_fits(saved: Mapping[str, Any], path: Path, module: DetectionModule) -> None:
    """Check that the weights from `path` fit a model.

    Raises:
        ConfigError: they do not fit; it names the first difference.
    """
    found, expected = _shapes(saved["state_dict"]), _shapes(module.state_dict())
    differing = sorted(name for name in found | expected if found.get(name) != expected.get(name))
    if differing:
        name = differing[0]
        raise _of_another_run(
            path,
            f"the weights of another model: {clipped(name)} is {_there(found, name)} (expected "
            f"{_there(expected, name)})",
        )


def broken(path: Path, what: str) -> ConfigError:
    """The error of an unusable checkpoint: what is lost, and fixes."""
    folder, best, last = path.parent, path.with_name("best.ckpt"), path.with_name("last.ckpt")
    if path == best:
        lost = "the weights of the best epoch. Fix: to continue with those of the last epoch:"
        aside = [f"mv {_quoted(best)} {_quoted(best.with_suffix('.damaged'))}"] if best.exists() else []
        commands = [*aside, f"cp {_quoted(last)} {_quoted(best)}"]
    else:
        lost = "the state that training resumes from. "
        if best.exists():
            lost += f"The weights of the best epoch are in {best}. Fix: start a new run from them:"
        else:
            lost += "Fix: start a new run:"
        commands = [_new_run(folder, best if best.exists() else None)]
    return ConfigError("\n  ".join([f"{path} {what}. Lost with it: {lost}", *commands]))


def _new_run(folder: Path, weights: Path | None) -> str:
    """The command that trains again from a run's config.

    It starts from its weights or without.
    """
    again = f"detloss train {_quoted(folder / 'config.yaml')} --output {_quoted(folder.with_name(folder.name + '-2'))}"
    return f"{again} --set weights={_quoted(weights)} --set weights_backbone=null" if weights else again


class _Weights(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    state_dict: dict[str, Tensor] = Field(min_length=1)
    epoch: int
    global_step: int


class _Optimizer(BaseModel):
    state: dict[Any, Any]
    param_groups: list[dict[str, Any]] = Field(min_length=1)


class _Best(BaseModel):
    best_score: float | None
    best_step: int | None


class _Callbacks(BaseModel):
    best: _Best = Field(alias="Checkpoints")


class _Resumable(_Weights):
    optimizer_states: list[_Optimizer] = Field(min_length=1, max_length=1)
    lr_schedulers: list[dict[str, Any]]
    loops: dict[str, Any]
    callbacks: _Callbacks


_STATES = frozenset({"callbacks", "lr_schedulers", "optimizer_states"})
"""Parts that ``best.ckpt`` does not have."""


def _of_another_run(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path} holds {what}. A resumed run may change losses, data and numbers, but not model and optimizer. "
        f"Fix: keep those as in {path.parent / 'config.yaml'}, or start a new run in another folder."
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes in a state dict, without the state of injected losses."""
    return {name: tuple(value.shape) for name, value in state.items() if "detloss" not in name.split(".")}


def _there(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return f"of shape {shapes[name]}" if name in shapes else "missing"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
