"""All checks, in the order in which they run: the cheapest first."""

from __future__ import annotations

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

CHECKS: tuple[Check, ...] = tuple(
    map(
        Check,
        (
            definition.docstring,
            definition.citation,
            definition.config_strict,
            definition.config_extra,
            definition.config_finite,
            definition.config_frozen,
            definition.recommended_weights,
            definition.requirement,
            values.shape,
            values.dtype,
            values.empty,
            values.batch_order,
            values.batch_size,
            values.batch_dependence,
            values.determinism,
            values.minimum,
            values.value_range,
            values.invariances,
            degenerate.finite_value,
            degenerate.finite_gradient,
            degenerate.rows_unchanged,
            degenerate.nan,
            degenerate.inverted_boxes,
            degenerate.mismatched_shapes,
            gradients.gradient,
            gradients.inputs_unchanged,
            gradients.target_gradient,
            parameters.parameters_used,
            bounds.bounds,
            state.state_in_buffers,
            state.buffer_dtype,
            state.state_dict,
            state.deep_copy,
            state.pickling,
            transforms.vmap,
            transforms.meta_device,
            transforms.torch_compile,
            in_heads.half_precision,
            in_heads.training,
        ),
    )
)
"""What every loss promises; ``docs/contract.md`` has the table."""
