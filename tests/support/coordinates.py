"""Coordinates where float32 is at its limits."""

from __future__ import annotations

from hypothesis import strategies as st

LARGEST = 3.4028234663852886e38
"""The largest float32: (2 - 2**-23) * 2**127."""
EDGES = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1.1754942e-38,
    1e-7,
    1.0,
    10.0,
    20.0,
    600.0,
    16777217.0,
    1e9,
    1e19,
    -1e19,
    1e38,
    -1e38,
    LARGEST,
    -LARGEST,
]
"""Where float32 ends, becomes subnormal or loses whole pixels; -0.0; and coordinates of images, which boxes share."""

any_coordinate = st.sampled_from(EDGES) | st.floats(width=32, allow_nan=False, allow_infinity=False)
