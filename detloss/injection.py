"""Puts losses into the heads of a detector, and removes them."""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn

from detloss.config.document import Notes
from detloss.config.specs import ResolvedSpec, resolve_spec
from detloss.errors import AlreadyPatchedError, ConfigError, HeadNotFoundError, InjectionError, PluginError
from detloss.heads.base import HeadAdapter
from detloss.heads.classes import take_out, taken_out
from detloss.heads.compiled import compiles
from detloss.heads.losses import HeadLosses, Term
from detloss.heads.slots import adapted, heads_in, slot_path
from detloss.loss import BoxRegressionLoss, LossSpec
from detloss.registry import HEAD_GROUP, Plugin, find_plugins, get_plugin, one_scan

LossLike = str | Mapping[str, object] | LossSpec | ResolvedSpec | BoxRegressionLoss
"""A loss: its name, a spec (mapping, `LossSpec` or resolved), or an instance (with its recommended weight)."""

Model = TypeVar("Model", bound=nn.Module)

_log = logging.getLogger("detloss")

_AN_EXAMPLE = "{'roi_heads': 'giou'}"


class Injected(dict[str, HeadLosses]):
    """Head name -> its losses; prints one line a head."""

    def __str__(self) -> str:
        return "\n".join(f"{head}: {losses}" for head, losses in self.items()) or "no losses injected"


def inject(model: Model, losses: Mapping[str, LossLike | Sequence[LossLike]]) -> Model:
    """Replace the box loss of heads of `model`, in place.

    Only the given instances change: their class becomes a subclass that replaces one entry of the loss dict. Several
    losses for one head are summed. A second injection into a head replaces the first. If one of `losses` cannot be
    injected, nothing changes.

    Args:
        model: A detector with heads that an installed package knows, or any module that contains one.
        losses: Head name -> a loss or several.

    Returns:
        `model` itself.

    Raises:
        HeadNotFoundError: the model has no such head.
        AlreadyPatchedError: the loss of the head was already replaced by something else.
        InjectionError: a loss needs what the head does not supply, or a class cannot be separated from one on top.
        PluginError: a loss or head name cannot be resolved to one installed plugin.
        ConfigError: a parameter of a loss is wrong.
    """
    if not isinstance(losses, Mapping):
        raise ConfigError(
            f"inject: the losses are not a mapping (found {losses!r:.80}). Fix: map heads to losses: {_AN_EXAMPLE}."
        )
    notes = Notes()
    planned: list[tuple[nn.Module, type[HeadAdapter], list[ResolvedSpec | BoxRegressionLoss]]] = []
    with one_scan():
        for head, given in losses.items():
            adapter = _adapter(head)
            module = _find(model, adapter)
            if found := adapter.patches(module):
                raise AlreadyPatchedError(f"{head}: another loss is already in place: {found[0]}.")
            if any(module is other and adapter.slot == before.slot for other, before, _ in planned):
                raise InjectionError(f"{head}: this head is given twice. Fix: sum its losses in one list.")
            planned.append((module, adapter, _resolved(notes, head, given)))
        if notes.findings:
            raise ConfigError(notes.findings)
        built = [_losses(adapter, resolved) for _, adapter, resolved in planned]
    classes: dict[nn.Module, type[nn.Module]] = {}
    for module, adapter, _ in planned:
        classes[module] = adapted(adapter, classes.get(module, type(module)))
    for module, cls in classes.items():
        module.__class__ = cls
    for (module, adapter, _), head_losses in zip(planned, built, strict=True):
        setattr(module, adapter.slot, head_losses.to(_device(module)).train(module.training))
    return model


def eject(model: Model, heads: Iterable[str] | None = None) -> Model:
    """Restore the class and loss of heads of `model`, in place.

    Args:
        model: A module into which losses were injected.
        heads: Names of heads; None means all.

    Returns:
        `model` itself.

    Raises:
        HeadNotFoundError: nothing is injected in one of `heads`; nothing changes.
        InjectionError: a class on top of a head cannot stay; nothing changes.
    """
    present = [(module, front) for _, module, front in heads_in(model)]
    names = list(dict.fromkeys(front.head_name for _, front in present))
    wanted = names if heads is None else list(heads)
    if missing := [head for head in wanted if head not in names]:
        raise HeadNotFoundError(
            f"eject: nothing is injected into {missing[0]!r} of this {type(model).__name__} "
            f"(heads with losses: {', '.join(names) or 'none'}). Fix: name one of those."
        )
    chosen = [(module, front) for module, front in present if front.head_name in wanted]
    classes: dict[nn.Module, type[nn.Module]] = {}
    for module, front in chosen:
        classes[module] = taken_out(classes.get(module, type(module)), front)
    for module, front in chosen:
        delattr(module, front.slot)
    for module, cls in classes.items():
        module.__dict__.pop("_calls", None)
        take_out(module, cls)
    return model


def injected(model: nn.Module) -> Injected:
    """Return the losses in the heads of `model`.

    The key is the head's name. If `model` has two heads of that name (a teacher and a student, say), it is the path of
    each within `model`.
    """
    found = list(heads_in(model))
    names = [front.head_name for *_, front in found]
    return Injected(
        (
            front.head_name if names.count(front.head_name) == 1 else slot_path(path, front),
            getattr(module, front.slot),
        )
        for path, module, front in found
    )


def _adapter(head: str) -> type[HeadAdapter]:
    return get_plugin(head, group=HEAD_GROUP).cls  # type: ignore[return-value]  # HEAD_GROUP holds adapters


def _find(model: nn.Module, adapter: type[HeadAdapter]) -> nn.Module:
    found = [(path, module) for path, module in model.named_modules() if isinstance(module, adapter.adapts)]
    if len(found) == 1:
        return found[0][1]
    if found:
        raise InjectionError(
            f"{adapter.head_name}: this {type(model).__name__} has {len(found)} such heads: "
            f"{', '.join(path for path, _ in found)}. Fix: inject into one of these parts."
        )
    # A model of a library that is not imported cannot be here, and its adapters import much.
    there = [plugin.name for plugin in find_plugins(HEAD_GROUP) if _is_imported(plugin) and _has(model, plugin.name)]
    raise HeadNotFoundError(
        f"{adapter.head_name}: this {type(model).__name__} has no {adapter.adapts.__name__}. "
        f"Its heads: {', '.join(there) or 'none that an installed adapter knows'}."
    )


def _is_imported(plugin: Plugin) -> bool:
    return not plugin.host or plugin.host.replace("-", "_") in sys.modules


def _has(model: nn.Module, head: str) -> bool:
    try:
        adapter = _adapter(head)
    except PluginError:  # the error is not about a broken or contested plugin
        return False
    return any(isinstance(module, adapter.adapts) for module in model.modules())


def _resolved(notes: Notes, head: str, given: Any) -> list[ResolvedSpec | BoxRegressionLoss]:
    """Find the losses of a head; note errors as a config does."""
    several = given if isinstance(given, list | tuple) else [given]
    if not several:
        raise InjectionError(f"{head}: the list of losses is empty. Fix: to restore the stock loss, use eject.")
    found = []
    for index, one in enumerate(several):
        path = (head, index) if len(several) > 1 else (head,)
        resolved = one if isinstance(one, ResolvedSpec | BoxRegressionLoss) else resolve_spec(notes, one, path)
        if resolved is not None:
            found.append(resolved)
    return found


def _losses(adapter: type[HeadAdapter], given: list[ResolvedSpec | BoxRegressionLoss]) -> HeadLosses:
    head = adapter.head_name
    terms, losses = zip(*(_term(head, one) for one in given), strict=True)
    for term, loss in zip(terms, losses, strict=True):
        if lacking := sorted(loss.extras - adapter.supplies):
            raise InjectionError(
                f"{head}: the loss {term.name} asks for {lacking[0]}, which this head does not supply (it supplies "
                f"{', '.join(sorted(adapter.supplies)) or 'no extras'}). Fix: choose another loss for this head."
            )
    return HeadLosses(head, terms, losses)


def _term(head: str, given: ResolvedSpec | BoxRegressionLoss) -> tuple[Term, BoxRegressionLoss]:
    if isinstance(given, BoxRegressionLoss):
        spec, loss = LossSpec(name=type(given).__name__), given
    else:
        spec, loss = cast("LossSpec", given.spec), given.build()
    weight = spec.weight
    if weight is None:
        weight = loss.recommended_weights.get(head, 1.0)
        source = "its recommended weight for this head"
        if head not in loss.recommended_weights:
            source = "none is recommended: the gain stays the head's own"
        _log.info("%s: %s gets weight %g (%s)", head, spec.name, weight, source)
    compiled = spec.compile and compiles(loss)
    if spec.compile and not compiled:
        _log.info("%s: %s runs without torch.compile, which would not make it faster (compile: true)", head, spec.name)
    return Term(spec.name, weight, spec.normalizer, explicit=spec.weight is not None, compile=compiled), loss


def _device(module: nn.Module) -> torch.device | None:
    return next((tensor.device for tensor in module.parameters()), None)
