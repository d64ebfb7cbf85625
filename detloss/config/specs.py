"""Checking plain data against pydantic models and against the losses that it names.

Nothing is raised here: what is wrong is noted in the `Document`, so that one error can list all of it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from detloss.config.files import MAX_DEPTH, MAX_VALUES, TOO_MANY, Document
from detloss.config.messages import KeyPath, dotted, found, hint
from detloss.errors import MAX_SHOWN, ConfigError, PluginError, PluginLoadError
from detloss.loss import ENVELOPE, BoxRegressionLoss, LossConfig, LossSpec, NestedSpec
from detloss.registry import HEAD_GROUP, LoadedPlugin, Plugin, find_plugins, get_plugin
from detloss.registry.loading import blamed
from detloss.text import did_you_mean, near

__all__ = ["ResolvedSpec", "check_loss", "check_losses", "check_parameters", "plain", "resolve_spec", "validated"]

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec whose loss is found and whose parameters are valid.

    Attributes:
        spec: What the config says of it, envelope included.
        plugin: The installed loss that the name stands for.
        cls: Its class.
        config: Its parameters, defaults filled in.
    """

    spec: NestedSpec
    plugin: Plugin
    cls: type[BoxRegressionLoss]
    config: LossConfig

    def build(self) -> BoxRegressionLoss:
        """Build the loss.

        Raises:
            ConfigError: A loss that holds others cannot hold these.
            PluginLoadError: Its ``__init__`` raised anything else.
        """
        with blamed(self.plugin, "its __init__", ConfigError, PluginError):
            return self.cls(self.config)


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
        words = _with_words(value, document, path)
        return {key: _plain(item, document, (*path, key), counter) for key, item in words.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, document, (*path, i), counter) for i, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        document.note(path, f"should be a finite number, found {value}")
    elif isinstance(value, str) and _SURROGATE.search(value):
        document.note(path, f"should be Unicode text, found {found(path, value)}")
    elif value is None or isinstance(value, str | bool | int | float):
        return value
    else:
        document.note(
            path,
            f"a config holds plain data (text, numbers, lists, mappings), not a {type(value).__name__}; for anything "
            "else build the model yourself and use detloss.inject",
        )
    return None


def _with_words(mapping: Mapping[Any, Any], document: Document, path: KeyPath) -> dict[str, Any]:
    for key in mapping:
        if not isinstance(key, str):
            document.note((*path, str(key)), f"a key is a word, not a {type(key).__name__}", at_key=True)
        elif _SURROGATE.search(key):
            document.note((*path, key), "a key is Unicode text", at_key=True)
    return {str(key): item for key, item in mapping.items() if not _SURROGATE.search(str(key))}


def validated(
    model: type[Model], document: Document, data: Any, path: KeyPath, who: str, *, beside: Iterable[str] = ()
) -> Model | None:
    """Return `data` as a model, or None after noting every error of it.

    Args:
        model: What to validate against. As in a file, a list may stand for a tuple and text for a path; beyond that
            nothing is converted.
        document: Takes the findings.
        data: Plain data.
        path: Where `data` stands in the document.
        who: What takes the keys, for the message on an unknown one.
        beside: Keys that may stand beside those of `data`: an unknown one may be meant for one of them.
    """
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        noted = {finding.key for finding in document.findings}
        for detail in error.errors(include_url=False):
            at = (*path, *_path_in(data, detail["loc"]))
            # `plain` has put None where it noted a finding: one is enough.
            if detail["input"] is not None or dotted(at) not in noted:
                _note(document, model, at, who, detail, beside=beside)
        return None


def check_losses(document: Document, losses: Any) -> dict[str, tuple[ResolvedSpec, ...]]:
    """Find the losses of each head, and note what is wrong with the heads, names and parameters."""
    resolved: dict[str, tuple[ResolvedSpec, ...]] = {}
    if not isinstance(losses, Mapping):
        return resolved
    heads = [plugin.name for plugin in find_plugins(HEAD_GROUP)]
    for head, given in losses.items():
        if len(document.findings) >= MAX_SHOWN:
            break
        path: KeyPath = ("losses", head)
        if heads.count(head) != 1:  # unknown, claimed twice, or `package:name`
            try:
                get_plugin(head, group=HEAD_GROUP)
            except PluginError as error:
                document.note(path, str(error), near=near(head, set(heads)), at_key=True)
        found = [check_loss(document, spec, at, LossSpec) for spec, at in _each(given, path)]
        resolved[head] = tuple(each for each in found if each is not None)
    return resolved


def resolve_spec(document: Document, given: Any, path: KeyPath = ()) -> ResolvedSpec | None:
    """Find the loss that a name or a spec in code stands for, or note what is wrong with it.

    Raises:
        PluginError: The name does not stand for one loss that can be loaded.
    """
    data = plain({"name": given} if isinstance(given, str) else given, document, path)
    if not isinstance(data, dict):
        document.note(path, f"a loss is a name or a mapping with the key name, found {found(path, data)}")
    elif validated(LossSpec, document, data, path, "a spec") is None or document.findings:
        check_loss(document, data, path, LossSpec)
    else:
        return check_parameters(document, get_plugin(data["name"]), data, path, LossSpec)
    return None


def check_loss(document: Document, given: Any, path: KeyPath, kind: type[NestedSpec]) -> ResolvedSpec | None:
    """Find one loss, or note what is wrong with its name and parameters; what its envelope says is passed over.

    Args:
        document: Takes the findings.
        given: A name, or a spec as plain data.
        path: Where it stands.
        kind: `LossSpec` or `NestedSpec`: its fields are no parameters.
    """
    spec = {"name": given} if isinstance(given, str) else given
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if not (isinstance(name, str) and name):
        return None  # the envelope says so
    if len(document.findings) >= MAX_SHOWN:
        return None
    if len(path) > _MAX_WITHIN:  # a loss that holds itself by default
        document.note(path, f"losses within losses, deeper than {_MAX_WITHIN} levels")
        return None
    try:
        loaded = get_plugin(name)
    except PluginError as error:
        at: KeyPath = path if isinstance(given, str) else (*path, "name")
        document.note(at, str(error), near=near(name, {plugin.name for plugin in find_plugins()}))
        return None
    return check_parameters(document, loaded, spec, path, kind)


def check_parameters(
    document: Document, loaded: LoadedPlugin, spec: Mapping[str, Any], path: KeyPath, kind: type[NestedSpec]
) -> ResolvedSpec | None:
    """Check the parameters in a flat spec against the Config of its loss, and so on for every loss inside.

    Args:
        document: Takes the findings.
        loaded: The loss.
        spec: The spec as plain data.
        path: Where it stands.
        kind: `LossSpec` or `NestedSpec`: its fields are no parameters.
    """
    params = {key: value for key, value in spec.items() if key not in kind.model_fields}
    config_class = loaded.cls.Config
    who = f"the loss {loaded.plugin.name}"
    try:
        with blamed(loaded.plugin, "its Config", ConfigError, PluginError):
            config = validated(config_class, document, params, path, who, beside=kind.model_fields)
    except PluginLoadError as error:
        document.note(path, str(error))
        return None
    for name, info in config_class.model_fields.items():
        inner = next((part for part in _types(info.annotation) if issubclass(part, NestedSpec)), None)
        if inner is None:
            continue
        default = plain(getattr(config, name, None), document, (*path, name)) if name not in params else None
        for nested, at in _each(params.get(name, default), (*path, name)):
            check_loss(document, nested, at, inner)
    try:
        envelope = kind.model_validate(spec)
    except ValidationError:  # noted where the envelope is checked
        return None
    return None if config is None else ResolvedSpec(envelope, loaded.plugin, loaded.cls, config)


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


def _note(
    document: Document, model: type[BaseModel], at: KeyPath, who: str, detail: Any, *, beside: Iterable[str]
) -> None:
    kind, value = detail["type"], detail["input"]
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    owner = next(_models_at(model, detail["loc"][:-1]), model)
    if kind == "extra_forbidden":
        fields = list(owner.model_fields)
        close = near(key, [*fields, *beside] if owner is model else fields)
        taker = who if owner is model else dotted(at[:-1])
        advice = did_you_mean(close, f"{taker[0].upper()}{taker[1:]} takes {', '.join(fields) or 'none'}")
        if key in ENVELOPE and issubclass(owner, LossConfig):
            advice = "; it belongs to the spec of the whole head, not to a loss within a loss"
        document.note(at, f"unknown key{advice}", near=close, at_key=True)
        return
    if kind == "missing":
        field = owner.model_fields.get(key)
        # Where any key may stand, as in a spec, a mistyped one is not found by itself.
        others = value.keys() - owner.model_fields.keys() if owner.model_config.get("extra") == "allow" else ()
        close = near(key, others)
        meant = f" (is {close!r} meant for it?)" if close else ""
        document.note(at, f"is missing{meant}: {(field and field.description) or 'it has no default'}")
        return
    message = _MESSAGES.get(kind) or _PREFIX.sub("", detail["msg"])
    close = None
    if kind == "literal_error" and isinstance(value, str):
        close = near(value, re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    message = f"{message}, found {found(at, value)}" if kind not in _SAYS_ALL else message
    written = _advice(kind, at, value)
    advice = f"; did you mean {close!r}?" if close else f"; {written}" if written else ""
    document.note(at, message + advice, near=close)


def _advice(kind: str, at: KeyPath, value: Any) -> str | None:
    """Say how to write what text was meant for, where a number or a boolean is expected."""
    advice = hint(at, value)
    wants = "bool" if kind.startswith("bool") else "number"
    return advice if advice and (wants == "bool") is advice.endswith(("true", "false")) else None


# Half of a character: JSON escapes and file names can hold one, UTF-8 cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")

_MAX_WITHIN = MAX_DEPTH // 2  # wrappers of wrappers: far more than make sense

# Errors of validators: their text says what was found.
_SAYS_ALL = {"value_error", "assertion_error", "json_invalid"}
_PREFIX = re.compile(r"\A(Value error, |(Input|String|List|Tuple|Set|Dictionary) (?=should ))")
_MESSAGES = {
    "model_type": "should be a name, or a mapping",
    "dict_type": "should be a mapping",
    "bool_type": "should be true or false",
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
        for i, step in enumerate(location):
            if step in part.model_fields:
                yield from _models_at(part.model_fields[str(step)].annotation, location[i + 1 :])
                break
        else:  # the steps are keys of a dict or indices of a list that holds such models
            yield part
