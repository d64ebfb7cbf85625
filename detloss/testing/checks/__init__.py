"""All checks, in the order in which they run: the cheapest first."""

from detloss.testing.check import Check
from detloss.testing.checks import (
    bounds,
    definition,
    degenerate,
    gradients,
    in_heads,
    parameters,
    state,
    transforms,
    values,
)

__all__ = ["CHECKS"]

_FILES = (definition, values, degenerate, gradients, parameters, bounds, state, transforms, in_heads)

CHECKS: tuple[Check, ...] = tuple(check for file in _FILES for check in vars(file).values() if isinstance(check, Check))
"""The promises of every loss, in the order of these files; ``docs/contract.md`` has the table."""
