"""A parameter that holds two fractions."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the lowest comes first. Fix: write [{value[1]:g}, {value[0]:g}]")
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
# YAML has lists, and a frozen config holds a tuple.
Interval = Annotated[tuple[Fraction, Fraction], BeforeValidator(_as_tuple), AfterValidator(_ordered)]
