"""The values that a Config holds, down to those within its tuples, mappings and models, and what it takes instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from detloss.loss import LossConfig, NestedSpec

__all__ = ["Place", "accepts", "changed", "declares", "is_model", "places", "written"]

Place = tuple[str | int, ...]
"""Where a value stands: a field, and the keys and indices below it."""


def places(config: LossConfig) -> Iterator[tuple[Place, Any]]:
    """Yield every value with its place, a container before what is in it.

    A nested spec is one value: its parameters are validated by the Config of the loss that it names.
    """
    for name, value in config:
        yield from _within((name,), value)


def changed(config: LossConfig, place: Place, value: object) -> dict[str, Any]:
    """Return the field of a Config that holds a place, with another value there."""
    name, *rest = place
    return {str(name): _replaced(getattr(config, str(name)), rest, value)}


def accepts(config: LossConfig, fields: dict[str, Any]) -> bool:
    """Tell whether a Config takes other fields beside its own."""
    own = {name: value for name, value in config if name not in fields}
    try:
        type(config).model_validate({**own, **fields})
    except Exception:  # noqa: BLE001 - a validator of the loss's own may refuse it in its own way
        return False
    return True


def declares(config: LossConfig, fields: dict[str, Any]) -> bool:
    """Tell whether the bare types of some fields take these values as they are: ``float | str`` takes ``"1"``."""
    for name, value in fields.items():
        annotation: Any = type(config).model_fields[name].annotation
        try:
            alone = create_model("Alone", __config__=ConfigDict(strict=True), field=(annotation, ...))
            if _plain(alone.model_validate({"field": value})) != {"field": _plain(value)}:
                return False
        except Exception:  # noqa: BLE001 - as in `accepts`
            return False
    return True


def is_model(value: object) -> bool:
    """Tell whether a value is a model of the Config's own, whose fields it vouches for."""
    return isinstance(value, BaseModel) and not isinstance(value, NestedSpec)


def written(place: Place) -> str:
    """Return a place as an author writes it: ``limits.low``, ``weights[0]``."""
    first, *rest = place
    return str(first) + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in rest)


def _within(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    yield place, value
    if is_model(value):
        inner: list[tuple[Any, Any]] = list(value)
    elif isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    else:
        inner = []
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
    if isinstance(value, BaseModel):
        return {key: _plain(each) for key, each in value}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
