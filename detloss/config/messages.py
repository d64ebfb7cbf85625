"""Texts for findings on a config: key paths, values, hints."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from detloss.loss import ENVELOPE, LossConfig
from detloss.text import clipped, did_you_mean, near

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a config to a value."""


def dotted(path: Sequence[str | int]) -> str:
    """Write a key path as ``--set`` takes it."""
    return ".".join(clipped(part, _SHOWN) for part in path)


def found(path: Sequence[str | int], value: Any) -> str:
    """Return a value for a message: shortened, escaped, or hidden if secret."""
    if is_secret(path, value):
        return f"a {type(value).__name__} (not shown, it may be a secret)"
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return clipped(repr(value), _SHOWN)


def is_secret(path: Sequence[str | int], value: Any) -> bool:
    """Tell if a value may be a secret, by keys or looks."""
    by_key = any(isinstance(part, str) and _SECRET_KEY.search(part) for part in path)
    return by_key or (isinstance(value, str) and _SECRET_VALUE.search(value) is not None)


def hint(path: Sequence[str | int], value: Any) -> str | None:
    """Return how to write text that means a number, true or false.

    None if it means neither, or may be a secret.
    """
    if not isinstance(value, str) or is_secret(path, value):
        return None
    if value.lower() in _BOOLEANS:
        return f"Fix: write {_BOOLEANS[value.lower()]}"
    if _NUMBER.fullmatch(value):
        return f"Fix: write the number without {'underscores' if '_' in value else 'quotes'}"
    return None


class Message(NamedTuple):
    """The message on one error of a model."""

    text: str
    near: str | None = None
    """The known key or name that is closest to an unknown one."""
    at_key: bool = False
    """Whether it is about the key, not its value."""


def explained(
    model: type[BaseModel], detail: Mapping[str, Any], at: KeyPath, who: str, beside: Iterable[str]
) -> Message:
    """Translate an error of pydantic for the author of a config."""
    kind, value = detail["type"], detail["input"]
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    owner = next(_models_at(model, detail["loc"][:-1]), model)
    if kind == "extra_forbidden":
        fields = list(owner.model_fields)
        close = near(key, [*fields, *beside] if owner is model else fields)
        taker = who if owner is model else dotted(at[:-1])
        advice = did_you_mean(close, f"{taker[0].upper()}{taker[1:]} takes {', '.join(fields) or 'none'}")
        if key in ENVELOPE and issubclass(owner, LossConfig):
            advice = ". Fix: move it to the spec of the whole head, out of the inner loss"
        return Message(f"unknown key{advice}", close, at_key=True)
    if kind == "missing":
        field = owner.model_fields.get(key)
        # Where any key is allowed, as in a spec, a mistyped key is not found otherwise.
        others = value.keys() - owner.model_fields.keys() if owner.model_config.get("extra") == "allow" else ()
        close = near(key, others)
        meant = f" (is {close!r} meant for it?)" if close else ""
        return Message(f"is missing{meant}: {(field and field.description) or 'it has no default'}", close)
    text = _MESSAGES.get(kind) or _PREFIX.sub("", detail["msg"])
    if kind not in _SAYS_ALL:
        text = f"{text}, found {found(at, value)}"
    if kind == "literal_error" and isinstance(value, str):
        if close := near(value, re.findall(r"'([^']*)'", detail["ctx"]["expected"])):
            return Message(f"{text}; did you mean {close!r}?", close)
    elif (written := hint(at, value)) and kind.startswith("bool") is written.endswith(("true", "false")):
        text = f"{text}. {written}"
    return Message(text)


def types_in(annotation: Any) -> Iterator[type]:
    """Yield the classes in an annotation: ``tuple[NestedSpec, ...] | None`` has tuple, NestedSpec and NoneType."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from types_in(part)


def _models_at(annotation: Any, location: KeyPath) -> Iterator[type[BaseModel]]:
    """Yield the models that may stand at a location within an annotation."""
    models = [part for part in types_in(annotation) if issubclass(part, BaseModel)]
    tag, rest = location[:1], location[1:]
    # If models differ in a key with one value each, pydantic adds the value as a step.
    if chosen := [part for part in models if tag and any(field.default == tag[0] for field in _fields(part))]:
        models, location = chosen, rest
    for part in models:
        for i, step in enumerate(location):
            if step in part.model_fields:
                yield from _models_at(part.model_fields[str(step)].annotation, location[i + 1 :])
                break
        else:  # the steps are keys of a dict or indices of a list that holds such models
            yield part


def _fields(model: type[BaseModel]) -> list[FieldInfo]:
    return [field for field in model.model_fields.values() if get_origin(field.annotation) is Literal]


# Errors of validators: their text says what was found.
_SAYS_ALL = {"value_error", "assertion_error", "json_invalid"}
_PREFIX = re.compile(r"\A(Value error, |(Input|String|List|Tuple|Set|Dictionary) (?=should ))")
_MESSAGES = {
    "model_type": "should be a name, or a mapping",
    "dict_type": "should be a mapping",
    "bool_type": "should be true or false",
    "json_invalid": "holds text that is not Unicode",
}
_SHOWN = 60  # characters of a value in a message: enough to recognize it
_SECRET_KEY = re.compile(
    r"secret|token|passw|passphrase|pwd|credential|private|(api|access|signing)[_-]?key|auth|bearer|cookie",
    re.IGNORECASE,
)
# user:password@host, the prefixes of issued keys (Hugging Face, GitHub, OpenAI, AWS, Slack, GitLab), JWT, PEM.
_SECRET_VALUE = re.compile(
    r"//[^/\s:]*:[^/\s]*@|\b(hf_|gh[oprsu]_|github_pat_|sk-|AKIA|xox[abprs]-|glpat-|eyJ)\w{8}|-----BEGIN"
)
_BOOLEANS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
