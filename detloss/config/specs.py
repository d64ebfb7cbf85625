"""Checks plain data against models and losses, and builds the losses.

Errors are noted, not raised, so that one error can list them all.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from detloss.config.document import MAX_DEPTH, Notes, plain
from detloss.config.messages import KeyPath, dotted, explained, found, types_in
from detloss.errors import MAX_SHOWN, ConfigError, PluginError, PluginLoadError
from detloss.loss import BoxRegressionLoss, LossConfig, LossSpec, NestedSpec
from detloss.registry import HEAD_GROUP, LoadedPlugin, Plugin, find_plugins, get_plugin, one_scan
from detloss.registry.loading import blamed
from detloss.text import near

Spec = str | Mapping[str, Any] | NestedSpec
"""A loss's name, or its spec as a mapping, a `NestedSpec` or a `LossSpec`."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec with its loss found and its parameters validated.

    Attributes:
        spec: The spec in the config, with its envelope.
        plugin: The installed loss of this name.
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
            ConfigError: The loss does not accept the losses inside it.
            PluginLoadError: Its ``__init__`` raised anything else.
        """
        with blamed(self.plugin, "its __init__", ConfigError, PluginError):
            return self.cls(self.config)


def check_spec(spec: Spec) -> ResolvedSpec:
    """Find the loss of a spec and validate its parameters.

    Raises:
        PluginError: The name is unknown, claimed twice, or its loss cannot be loaded.
        ConfigError: A parameter is wrong, here or in an inner loss.
    """
    notes = Notes()
    with one_scan():
        resolved = resolve_spec(notes, spec)
    if resolved is None or notes.findings:
        raise ConfigError(notes.findings)
    return resolved


def build_loss(spec: Spec) -> BoxRegressionLoss:
    """Build the loss of a spec, without weight and normalizer.

    Raises:
        PluginError: The name is unknown, claimed twice, or its loss cannot be loaded.
        ConfigError: A parameter is wrong, or the spec has a key that only a head can apply.
    """
    with one_scan():
        resolved = check_spec(spec)
        if beside := sorted(resolved.spec.model_fields_set & _ENVELOPE_OF_A_HEAD):
            raise ConfigError(
                f"build_loss: only a head applies {beside[0]!r}. Fix: give the spec to `inject` or to the section "
                "losses of a config, or multiply the loss's values yourself."
            )
        return resolved.build()


def validated(
    model: type[Model], notes: Notes, data: Any, path: KeyPath, who: str, *, beside: Iterable[str] = ()
) -> Model | None:
    """Return plain data as a model; note its errors and return None.

    As in a file, a list may be given for a tuple and text for a path; nothing else is converted. A message on an
    unknown key says what `who` takes, and may suggest a key in `beside`.
    """
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        noted = {finding.key for finding in notes.findings}
        for detail in error.errors(include_url=False):
            at = (*path, *_path_in(data, detail["loc"]))
            # `plain` noted a finding and put None here: one finding is enough.
            if detail["input"] is not None or dotted(at) not in noted:
                notes.note(at, *explained(model, detail, at, who, beside))
        return None


def check_losses(notes: Notes, losses: Any) -> dict[str, tuple[ResolvedSpec, ...]]:
    """Find the losses of each head, and note what is wrong."""
    resolved: dict[str, tuple[ResolvedSpec, ...]] = {}
    if not isinstance(losses, Mapping):
        return resolved
    heads = [plugin.name for plugin in find_plugins(HEAD_GROUP)]
    for head, given in losses.items():
        if len(notes.findings) >= MAX_SHOWN:
            break
        path: KeyPath = ("losses", head)
        if heads.count(head) != 1:  # unknown, claimed twice, or `package:name`
            try:
                get_plugin(head, group=HEAD_GROUP)
            except PluginError as error:
                notes.note(path, str(error), near=near(head, set(heads)), at_key=True)
        found = [check_loss(notes, spec, at, LossSpec) for spec, at in _each(given, path)]
        resolved[head] = tuple(each for each in found if each is not None)
    return resolved


def resolve_spec(notes: Notes, given: Any, path: KeyPath = ()) -> ResolvedSpec | None:
    """Find the loss of a name or spec in code.

    What is wrong with it is noted.

    Raises:
        PluginError: The name is unknown, claimed twice, or its loss cannot be loaded.
    """
    data = plain({"name": given} if isinstance(given, str) else given, notes, path)
    if not isinstance(data, dict):
        notes.note(path, f"a loss is a name or a mapping with the key name, found {found(path, data)}")
    elif validated(LossSpec, notes, data, path, "a spec") is None or notes.findings:
        check_loss(notes, data, path, LossSpec)
    else:
        return check_parameters(notes, get_plugin(data["name"]), data, path, LossSpec)
    return None


def check_loss(notes: Notes, given: Any, path: KeyPath, kind: type[NestedSpec]) -> ResolvedSpec | None:
    """Find the loss of a name or plain spec.

    What is wrong with name or parameters is noted.
    """
    spec = {"name": given} if isinstance(given, str) else given
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if not (isinstance(name, str) and name):
        return None  # noted where the envelope is checked
    if len(notes.findings) >= MAX_SHOWN:
        return None
    if len(path) > _MAX_WITHIN:  # a loss that contains itself by default
        notes.note(path, f"losses are nested deeper than {_MAX_WITHIN} levels")
        return None
    try:
        loaded = get_plugin(name)
    except PluginError as error:
        at: KeyPath = path if isinstance(given, str) else (*path, "name")
        notes.note(at, str(error), near(name, {plugin.name for plugin in find_plugins()}))
        return None
    return check_parameters(notes, loaded, spec, path, kind)


def check_parameters(
    notes: Notes, loaded: LoadedPlugin, spec: Mapping[str, Any], path: KeyPath, kind: type[NestedSpec]
) -> ResolvedSpec | None:
    """Check the parameters in a flat spec, and in all losses inside."""
    params = {key: value for key, value in spec.items() if key not in kind.model_fields}
    plugin, cls = loaded.plugin, loaded.cls
    try:
        with blamed(plugin, "its Config", ConfigError, PluginError):
            config = validated(cls.Config, notes, params, path, f"the loss {plugin.name}", beside=kind.model_fields)
    except PluginLoadError as error:
        notes.note(path, str(error))
        return None
    for name, info in cls.Config.model_fields.items():
        for inner in [part for part in types_in(info.annotation) if issubclass(part, NestedSpec)][:1]:
            default = plain(getattr(config, name, None), notes, (*path, name)) if name not in params else None
            for nested, at in _each(params.get(name, default), (*path, name)):
                check_loss(notes, nested, at, inner)
    try:
        envelope = kind.model_validate(spec)
    except ValidationError:  # noted where the envelope is checked
        return None
    return ResolvedSpec(envelope, plugin, cls, config) if config else None


def _each(given: Any, path: KeyPath) -> list[tuple[Any, KeyPath]]:
    if isinstance(given, list):
        return [(spec, (*path, i)) for i, spec in enumerate(given)]
    return [] if given is None else [(given, path)]


_ENVELOPE_OF_A_HEAD = LossSpec.model_fields.keys() - NestedSpec.model_fields.keys()
_MAX_WITHIN = MAX_DEPTH // 2  # wrappers of wrappers: far more than useful


def _path_in(data: Any, location: KeyPath) -> Iterator[str | int]:
    """Yield the part of pydantic's location that exists in the data.

    pydantic adds steps for unions and for lists of one.
    """
    for i, step in enumerate(location):
        if isinstance(data, Mapping) and step in data:
            data = data[str(step)]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        elif not (isinstance(data, Mapping) and i == len(location) - 1 and isinstance(step, str)):
            continue
        yield step
