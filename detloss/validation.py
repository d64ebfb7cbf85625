"""Checking plain data against pydantic models and against the losses that it names.

Nothing is raised here: what is wrong is noted in the `Document`, so that one error can list all of it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from detloss.errors import PluginError
from detloss.findings import MAX_SHOWN, KeyPath, did_you_mean, dotted, found, is_secret, near
from detloss.locate import MAX_DEPTH, MAX_VALUES, TOO_MANY, Document
from detloss.loss import ENVELOPE, BoxRegressionLoss, LossConfig, LossSpec, NestedSpec
from detloss.registry import HEAD_GROUP, LoadedPlugin, Plugin, find_plugins, get_plugin

__all__ = ["ResolvedSpec", "check_losses", "check_parameters", "plain", "validated"]

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec whose loss is found and whose parameters are valid.

    Attributes:
        plugin: The installed loss that the name stands for.
        cls: Its class.
        config: Its parameters, defaults filled in.
    """

    plugin: Plugin
    cls: type[BoxRegressionLoss]
    config: LossConfig


def plain(value: Any, document: Document, path: KeyPath = ()) -> Any:
    """Return a value as plain data: dicts with words for keys, lists, text, finite numbers, booleans and None.

    Models are dumped, paths become text. What cannot be plain is noted, and None takes its place.
    """
    return _plain(value, document, path, count(1))


def _plain(value: Any, document: Document, path: KeyPath, counter: Iterator[int]) -> Any:
    number = next(counter)
    if number > MAX_VALUES:
        if number == MAX_VALUES + 1:
            document.note(path, TOO_MANY)
        return None
    if len(path) > MAX_DEPTH:
        document.note(path, f"nested deeper than {MAX_DEPTH} levels")
        return None
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        for key in (key for key in value if not isinstance(key, str)):
            document.note((*path, str(key)), f"a key is a word, not a {type(key).__name__}")
        return {str(key): _plain(item, document, (*path, str(key)), counter) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, document, (*path, i), counter) for i, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        document.note(path, f"should be a finite number, found {value}")
    elif value is None or isinstance(value, str | bool | int | float):
        return value
    else:
        document.note(
            path,
            f"a config holds plain data (text, numbers, lists, mappings), not a {type(value).__name__}; for anything "
            "else build the model yourself and use detloss.inject",
        )
    return None


def validated(model: type[Model], document: Document, data: Any, path: KeyPath, who: str) -> Model | None:
    """Return `data` as a model, or None after noting every error of it.

    Args:
        model: What to validate against. As in a file, a list may stand for a tuple and text for a path; beyond that
            nothing is converted.
        document: Takes the findings.
        data: Plain data.
        path: Where `data` stands in the document.
        who: What takes the keys, for the message on an unknown one.
    """
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        noted = {finding.key for finding in document.findings}
        for detail in error.errors(include_url=False):
            at = (*path, *_path_in(data, detail["loc"]))
            # `plain` has put None where it noted a finding: one is enough.
            if detail["input"] is not None or dotted(at) not in noted:
                _note(document, model, at, who, detail)
        return None


def check_losses(document: Document, losses: Any) -> None:
    """Note what is wrong with the heads, names and parameters below the key ``losses``."""
    if not isinstance(losses, Mapping):
        return
    heads = [plugin.name for plugin in find_plugins(HEAD_GROUP)]
    look_up = cache(get_plugin)  # a look-up scans all that is installed: once a name is enough
    for head, given in losses.items():
        if len(document.findings) >= MAX_SHOWN:
            return
        path: KeyPath = ("losses", head)
        if heads.count(head) != 1:  # unknown, claimed twice, or `package:name`
            try:
                get_plugin(head, group=HEAD_GROUP)
            except PluginError as error:
                document.note(path, str(error), near=near(head, set(heads)), at_key=True)
        for spec, at in _each(given, path):
            _check_spec(document, spec, at, LossSpec, look_up)


def check_parameters(
    document: Document,
    loaded: LoadedPlugin,
    spec: Mapping[str, Any],
    path: KeyPath,
    kind: type[NestedSpec],
    *,
    look_up: Callable[[str], LoadedPlugin] = get_plugin,
) -> ResolvedSpec | None:
    """Check the parameters in a flat spec against the Config of its loss, and so on for every loss inside.

    Args:
        document: Takes the findings.
        loaded: The loss.
        spec: The spec as plain data.
        path: Where it stands.
        kind: `LossSpec` or `NestedSpec`: its fields are no parameters.
        look_up: Finds the losses inside.
    """
    params = {key: value for key, value in spec.items() if key not in kind.model_fields}
    config_class = loaded.cls.Config
    config = validated(config_class, document, params, path, f"the loss {loaded.plugin.name}")
    for name, info in config_class.model_fields.items():
        inner = next((part for part in _types(info.annotation) if issubclass(part, NestedSpec)), None)
        if inner is None:
            continue
        default = plain(getattr(config, name, None), document, (*path, name)) if name not in params else None
        for nested, at in _each(params.get(name, default), (*path, name)):
            _check_spec(document, nested, at, inner, look_up)
    return None if config is None else ResolvedSpec(loaded.plugin, loaded.cls, config)


def _check_spec(
    document: Document, given: Any, path: KeyPath, kind: type[NestedSpec], look_up: Callable[[str], LoadedPlugin]
) -> None:
    spec = {"name": given} if isinstance(given, str) else given
    if not isinstance(spec, Mapping) or not isinstance(name := spec.get("name"), str):
        return  # the envelope says so
    if len(document.findings) >= MAX_SHOWN:
        return
    if len(path) > _MAX_WITHIN:  # a loss that holds itself by default
        document.note(path, f"losses within losses, deeper than {_MAX_WITHIN} levels")
        return
    try:
        loaded = look_up(name)
    except PluginError as error:
        at: KeyPath = path if isinstance(given, str) else (*path, "name")
        document.note(at, str(error), near=near(name, {plugin.name for plugin in find_plugins()}))
        return
    check_parameters(document, loaded, spec, path, kind, look_up=look_up)


def _each(given: Any, path: KeyPath) -> list[tuple[Any, KeyPath]]:
    if isinstance(given, list):
        return [(spec, (*path, i)) for i, spec in enumerate(given)]
    return [] if given is None else [(given, path)]


def _types(annotation: Any) -> Iterator[type]:
    """Yield the classes in an annotation: ``tuple[NestedSpec, ...] | None`` has tuple, NestedSpec and NoneType."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _types(part)


def _note(document: Document, model: type[BaseModel], at: KeyPath, who: str, detail: Any) -> None:
    kind, value = detail["type"], detail["input"]
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    owner = next(_models_at(model, detail["loc"][:-1]), model)
    if kind == "extra_forbidden":
        fields = list(owner.model_fields)
        close = near(key, fields)
        taker = who if owner is model else dotted(at[:-1])
        advice = did_you_mean(close, f"{taker[0].upper()}{taker[1:]} takes {', '.join(fields) or 'none'}")
        if key in ENVELOPE and issubclass(owner, LossConfig):
            advice = "; it belongs to the spec of the whole head, not to a loss within a loss"
        document.note(at, f"unknown key{advice}", near=close, at_key=True)
        return
    if kind == "missing":
        field = owner.model_fields.get(key)
        document.note(at, f"is missing: {(field and field.description) or 'it has no default'}")
        return
    message = _MESSAGES.get(kind) or detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    close = None
    if kind == "literal_error" and isinstance(value, str):
        close = near(value, re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    hint = document.hint(at, value)
    if (word := document.booleans.get(at)) and not is_secret(at, word):
        hint = f"YAML reads {word} as {str(value).lower()}"
        if kind in {"string_type", "model_type", "literal_error"}:
            hint = f'{hint}; write "{word}" in quotes'
    message = f"{message}, found {found(at, value)}" if kind not in _SAYS_ALL else message
    advice = f"; did you mean {close!r}?" if close else f"; {hint}" if hint else ""
    document.note(at, message + advice, near=close)


_MAX_WITHIN = MAX_DEPTH // 2  # wrappers of wrappers: far more than make sense

# Errors of validators: their text says what was found.
_SAYS_ALL = {"value_error", "assertion_error"}
_MESSAGES = {
    "model_type": "should be a name, or a mapping",
    "dict_type": "should be a mapping",
    "json_invalid": "holds text that is not Unicode",
}


def _path_in(data: Any, location: KeyPath) -> Iterator[str | int]:
    """Yield the part of pydantic's location that exists in the data: it adds steps, for unions and for lists of one."""
    for i, step in enumerate(location):
        if isinstance(data, Mapping) and step in data:
            data = data[str(step)]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        elif not (isinstance(data, Mapping) and i == len(location) - 1 and isinstance(step, str)):
            continue
        yield step


def _models_at(annotation: Any, location: KeyPath) -> Iterator[type[BaseModel]]:
    """Yield the models that may stand at a location within an annotation."""
    for part in _types(annotation):
        if not issubclass(part, BaseModel):
            continue
        if not location:
            yield part
        for i, step in enumerate(location):
            if step in part.model_fields:
                yield from _models_at(part.model_fields[str(step)].annotation, location[i + 1 :])
                break
