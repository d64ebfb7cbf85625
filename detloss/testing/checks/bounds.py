"""The check of the bounds that a Config sets its parameters."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from detloss.boxes import inverted
from detloss.errors import ConformanceError
from detloss.loss import LossConfig
from detloss.testing.check import Check
from detloss.testing.checks.degenerate import degenerate_pairs
from detloss.testing.checks.values import expect_in_range, is_number, unlike_pairs
from detloss.testing.config_values import Place, changed, choices, owner_of, parameters, value_at, with_fields, written
from detloss.testing.expecting import DoesNotApply
from detloss.testing.trial import Trial, pair_at

SETTINGS = 300
"""How many settings are tried: each parameter at its bounds, and two at a time."""
FARTHEST = 100
"""At an open bound, the parameter is tried at its value times and divided by this."""


class _Limits(NamedTuple):
    """The bounds in a parameter's schema."""

    closed: Sequence[Any] = ()
    """Its values at closed bounds; of a mode, all values."""
    open_below: bool = False
    open_above: bool = False


@Check
def bounds(trial: Trial) -> None:
    """At closed bounds of parameters, float32 values are finite and in range."""
    config = trial.subject.config
    limits = {place: _limits(config, place) for place in parameters(config)}
    for setting in itertools.islice(_settings(config, limits), SETTINGS):
        _expect_sound(trial, setting)
    for place, limit in limits.items():
        if limit.open_below or limit.open_above:
            tried = [_tried(trial, place, value) for value in _beyond(value_at(config, place), limit)]
            found = "; ".join(filter(None, tried))
            trial.remarks.append(f"{written(place)}: unbounded: no promise{f' ({found})' * bool(found)}.")
    if not trial.comparisons:
        raise DoesNotApply(" ".join(trial.remarks) or "It has no parameters with bounds.")


def _settings(config: LossConfig, limits: Mapping[Place, _Limits]) -> Iterator[LossConfig]:
    """Yield the Config with one parameter at an end, then with two."""
    for count in (1, 2):
        for places in itertools.combinations(limits, count):
            for values in itertools.product(*(limits[place].closed for place in places)):
                setting: LossConfig | None = config
                for place, value in zip(places, values, strict=True):
                    setting = setting and with_fields(setting, changed(setting, place, value))
                if setting is not None:
                    yield setting


def _expect_sound(trial: Trial, setting: LossConfig) -> None:
    """Expect finite results in the range for ordinary and degenerate pairs."""
    tried = Trial(replace(trial.subject, config=setting))
    own = ", ".join(f"{name}={value!r:.40}" for name, value in setting if value != getattr(trial.subject.config, name))
    trial.advice = f"It was tried with {own}. Fix: narrow the bounds, or correct the formula."
    try:
        losses = list(tried.stages())
    except ConformanceError:
        raise
    except Exception:  # noqa: BLE001 - the loss may refuse a value instead of its Config
        return
    ordinary = tried.pairs(64, dtype=torch.float32)
    batches = (ordinary, *unlike_pairs(*ordinary), degenerate_pairs(torch.float32))
    pred, target = (torch.cat(boxes) for boxes in zip(*batches, strict=True))
    for loss in losses:
        value, gradient = tried.values_and_gradient(loss, pred, target)
        where = partial(pair_at, pred, target)
        for what, found in (("value", value), ("gradient", gradient)):
            expected = f"a finite {what} with {own}"
            trial.expect_each(torch.isfinite(found), expected, found, trial.advice, where=where)
        invalid = inverted(pred) | inverted(target) if loss.space == "boxes" else torch.zeros_like(value).bool()
        expect_in_range(trial, pred, target, torch.where(invalid, torch.nan, value), f" with {own}")


def _tried(trial: Trial, place: Place, value: float) -> str:
    """Return the result of a value beyond the promise."""
    config = trial.subject.config
    setting = with_fields(config, changed(config, place, value))
    if setting is None:
        return ""
    attempt = Trial(trial.subject)
    try:
        _expect_sound(attempt, setting)
    except ConformanceError as error:
        expected = str(error).removeprefix("Expected ").partition(" with ")[0]
        found = f"not {expected}"
    except Exception as error:  # noqa: BLE001 - nothing is promised here
        found = type(error).__name__
    else:
        found = "sound"
    trial.comparisons += attempt.comparisons
    return f"{value:g}: {found}"


def _beyond(value: Any, limit: _Limits) -> list[float]:
    """Return a hundredth and a hundred times a number, at open bounds."""
    if not is_number(value) or not value:
        return []
    near, far = (value // FARTHEST if isinstance(value, int) else value / FARTHEST), value * FARTHEST
    low, high = min(near, far), max(near, far)
    return [low] * limit.open_below + [high] * limit.open_above


def _limits(config: LossConfig, place: Place) -> _Limits:
    name, owner = str(place[-1]), type(owner_of(config, place))
    modes = [each for each in choices(owner.model_fields[name].annotation) if not isinstance(each, dict)]
    try:
        schema = owner.model_json_schema()["properties"][name]
    except Exception:  # noqa: BLE001 - some types have no schema, and then no known bounds
        return _Limits(modes)
    numbers = _of_schema(schema)
    return numbers._replace(closed=[*modes, *numbers.closed])


def _of_schema(schema: Mapping[str, Any]) -> _Limits:
    if "anyOf" in schema:
        options = [_of_schema(option) for option in schema["anyOf"]]
        closed = [value for option in options for value in option.closed]
        return _Limits(closed, any(o.open_below for o in options), any(o.open_above for o in options))
    if "prefixItems" in schema:
        items = [_of_schema(item) for item in schema["prefixItems"]]
        closed = list(itertools.product(*(item.closed for item in items)))
        return _Limits(closed, any(item.open_below for item in items), any(item.open_above for item in items))
    if schema.get("type") not in ("number", "integer") or "enum" in schema or "const" in schema:
        return _Limits()
    ends = [schema[key] for key in ("minimum", "maximum") if key in schema]
    return _Limits(ends, "minimum" not in schema, "maximum" not in schema)
