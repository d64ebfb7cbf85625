"""The parameters of a new loss, written as ``alpha=3.0:ge=1,le=10 beta=1``."""

import json
import keyword
import re
from collections.abc import Sequence
from operator import ge, gt, le, lt
from typing import NamedTuple


class Parameter(NamedTuple):
    """One parameter, as source code.

    Attributes:
        name: Its name.
        default: Its default, a float literal.
        bounds: Its bounds, as in ``("ge=1", "le=10")``.
    """

    name: str
    default: str
    bounds: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The arguments of its `Field`."""
        return ", ".join((self.default, *self.bounds))

    @property
    def distance(self) -> str:
        """The difference from the default."""
        sign, size = ("+", self.default[1:]) if self.default.startswith("-") else ("-", self.default)
        return f"{self.name} {sign} {size}"


def parsed(text: str) -> list[Parameter]:
    """Return the parameters of a correct text."""
    return [_parameter(*_split(part)) for part in text.split()]


def problem_of_parameters(text: str) -> str:
    """Say what is wrong with the text of all parameters."""
    parts = text.split()
    names = [part.partition("=")[0] for part in parts]
    return " ".join(filter(None, (_problem(part, names) for part in parts)))


def _split(part: str) -> tuple[str, str, list[str]]:
    found, _, bounds = part.partition(":")
    name, _, value = found.partition("=")
    return name, value, bounds.split(",") if bounds else []


def _parameter(name: str, value: str, bounds: Sequence[str]) -> Parameter:
    # Closed bounds, which the kit tests exactly: by default a hundredth and a hundred times the value.
    least, most = sorted((float(value) / 100, float(value) * 100))
    if least != most:
        sides = {bound[0] for bound in bounds}
        bounds = [f"ge={least:g}"] * ("g" not in sides) + [*bounds] + [f"le={most:g}"] * ("l" not in sides)
    # As ruff formats a number.
    value, *bounds = (number.lower().replace("e+", "e") for number in (value, *bounds))
    return Parameter(name, value if re.search("[.e]", value) else f"{value}.0", tuple(bounds))


def _problem(part: str, names: Sequence[str]) -> str:
    name, value, bounds = _split(part)
    if not _PATTERN.fullmatch(part):
        return (
            f"{json.dumps(part)}: write NAME=NUMBER, or with bounds NAME=NUMBER:ge=1,le=10 (gt greater than, ge at "
            "least, lt less than, le at most). You can add other types to the class later."
        )
    if problem := _problem_of_name(name):
        return problem
    if names.count(name) > 1:
        return f"{name} is given more than once."
    if len({bound[0] for bound in bounds}) < len(bounds):
        return f"{json.dumps(part)} has two bounds on one side."
    limits = [(bound, *bound.split("=")) for bound in bounds]
    outside = [bound for bound, kind, limit in limits if not _HOLDS[kind](float(value), float(limit))]
    return f"The default of {json.dumps(part)} is outside its own bound {outside[0]}." if outside else ""


def _problem_of_name(name: str) -> str:
    if name in _SPEC_KEYS:
        return f"{name} is a key of every loss in a config. Fix: choose another name."
    if keyword.iskeyword(name):
        other = name[:3] if len(name) > 3 else f"{name}_"
        return f"{name} is a keyword of Python. Fix: choose another name, such as {other}."
    if name in _TAKEN or name.startswith("model_"):
        return f"{name} already has a meaning in the class. Fix: choose another name."
    if name.lower() in YAML_WORDS:
        return f"YAML reads {name} as a value, not as text. Fix: choose another name."
    return ""


_NUMBER = r"-?(0|[1-9][0-9]{0,8})([.][0-9]{1,17})?([eE][+-]?[0-9]{1,2})?"
_BOUND = f"(gt|ge|lt|le)={_NUMBER}"
_PATTERN = re.compile(f"[A-Za-z][A-Za-z0-9_]{{0,39}}={_NUMBER}(:{_BOUND}(,{_BOUND})*)?")

_HOLDS = {"gt": gt, "ge": ge, "lt": lt, "le": le}

_SPEC_KEYS = frozenset({"name", "weight", "normalizer", "compile"})
YAML_WORDS = frozenset({"false", "null", "true"})
_TAKEN = frozenset(
    {"construct", "copy", "dict", "fields", "from_orm", "json", "schema", "schema_json", "validate"}
    | {"update_forward_refs", "parse_file", "parse_obj", "parse_raw", "Config", "Field", "config", "float", "self"}
)
"""Names with another meaning in pydantic or the written module."""
