"""The values that a Config holds, and what it takes instead.

Values within tuples, mappings and models count too.
"""

import enum
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import to_jsonable_python

from detloss.loss import LossConfig, NestedSpec
from detloss.registry import find_plugins

Place = tuple[str | int, ...]
"""The place of a value: a field, and the keys and indices below it."""

NUMBERS = (1, 0, 2, 10, 0.5, 0.1, 0.9, 100, -1)
"""Numbers to try for any parameter."""
FACTORS = (2, 0.5, 10, 0.1, 1000, 0.001, 1.1, 0.9)
"""Factors on the current value: large enough to matter, small enough for narrow bounds."""


def places(config: LossConfig) -> Iterator[tuple[Place, Any]]:
    """Yield every value with its place, containers first.

    A nested spec is one value: its parameters are validated by the Config of the loss that it names.
    """
    for name, value in config:
        yield from _within((name,), value)


def changed(config: LossConfig, place: Place, value: object) -> dict[str, Any]:
    """Return a field of a Config with another value at a place."""
    name, *rest = place
    return {str(name): _replaced(getattr(config, str(name), None), rest, value)}


def accepts(config: LossConfig, fields: dict[str, Any]) -> bool:
    """Tell whether a Config takes extra fields."""
    return with_fields(config, fields) is not None


def declares(config: LossConfig, fields: dict[str, Any]) -> bool:
    """Tell whether fields are declared for these values: ``float | str`` for ``"1"``."""
    for name, value in fields.items():
        annotation: Any = type(config).model_fields[name].annotation
        try:
            alone = create_model("Alone", __config__=ConfigDict(strict=True), field=(annotation, ...))
            if _plain(alone.model_validate({"field": value})) != _plain({"field": value}):
                return False
        except Exception:  # noqa: BLE001 - as in `accepts`
            return False
    return True


def parameters(config: BaseModel, above: Place = ()) -> Iterator[Place]:
    """Yield the place of every parameter, down to fields of models."""
    for name, value in config:
        if is_model(value):
            yield from parameters(value, (*above, name))
        else:
            yield (*above, name)


def value_at(config: LossConfig, place: Place) -> Any:
    """Return the value at a place."""
    return next(value for at, value in places(config) if at == place)


def owner_of(config: LossConfig, parameter: Place) -> BaseModel:
    """Return the model that has a parameter: the Config, or one within."""
    owner: BaseModel = config if len(parameter) == 1 else value_at(config, parameter[:-1])
    return owner


def other_values(config: LossConfig, parameter: Place, numbers: int | None = None) -> Iterator[LossConfig]:
    """Yield the Config with other accepted values of one parameter.

    Of numbers, at most `numbers`.
    """
    annotation = type(owner_of(config, parameter)).model_fields[str(parameter[-1])].annotation
    for place, value in places(config):
        if place[: len(parameter)] != parameter:
            continue
        for candidates, most in ((choices(annotation), None), (_numbers(value), numbers)):
            made = (with_fields(config, changed(config, place, each)) for each in candidates)
            yield from islice((other for other in made if other is not None and other != config), most)


def with_fields(config: LossConfig, fields: dict[str, Any]) -> LossConfig | None:
    """Return a Config with other fields, or None if it refuses them."""
    own = {name: value for name, value in config if name not in fields}
    try:
        return type(config).model_validate({**own, **fields})
    except Exception:  # noqa: BLE001 - the loss's own validator may raise anything
        return None


def choices(annotation: Any) -> Iterator[Any]:
    """Yield all values of the types that have few: modes, booleans."""
    annotation = getattr(annotation, "__value__", annotation)  # of `type Alias = ...`
    within = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from within
    elif within or not isinstance(annotation, type):
        yield from chain.from_iterable(map(choices, within))
    elif issubclass(annotation, bool):
        yield from (True, False)
    elif issubclass(annotation, enum.Enum):
        yield from annotation
    elif issubclass(annotation, NoneType):
        yield None
    elif issubclass(annotation, NestedSpec):
        # Only of imported packages: a check must not run other code.
        plugins = find_plugins()
        packages = {plugin.package for plugin in plugins if plugin.module in sys.modules}
        yield from ({"name": plugin.name} for plugin in plugins if plugin.package in packages)
    elif issubclass(annotation, BaseModel):
        yield {}


def is_model(value: object) -> bool:
    """Tell whether a value is a nested model of the Config."""
    return isinstance(value, BaseModel) and not isinstance(value, NestedSpec)


def written(place: Place) -> str:
    """Return a place in words: ``limits.low``, ``weights[0]``."""
    first, *rest = place
    return str(first) + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in rest)


def _numbers(value: Any) -> Iterator[Any]:
    """Yield numbers, and containers of numbers, that may replace a value."""
    if isinstance(value, int):
        yield from (value + 1, value - 1, 2 * value, value // 2)
    elif isinstance(value, float):
        yield from (value * factor for factor in FACTORS)
    yield from NUMBERS
    for n in range(1, 5):
        for numbers in ((0.1, 0.5, 0.9, 1.0), (1, 2, 3, 4)):
            yield from (numbers[:n], list(numbers[:n]))


def _within(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    yield place, value
    inner: Iterable[tuple[Any, Any]] = ()
    if is_model(value):
        inner = value
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    for key, each in inner:
        yield from _within((*place, key), each)


def _replaced(old: Any, rest: list[str | int], new: object) -> Any:
    if not rest:
        return new
    key, *deeper = rest
    if isinstance(old, list | tuple):
        items = [_replaced(each, deeper, new) if index == key else each for index, each in enumerate(old)]
        return tuple(items) if isinstance(old, tuple) else items
    fields = dict(old)
    return {**fields, key: _replaced(fields.get(key), deeper, new)}


def _plain(value: Any) -> Any:
    return to_jsonable_python(value, fallback=repr)
