"""The certainty of each look, so that all together keep alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from detloss.compare.statistics.blocks import Array

FIRST_LOOK = 0.8
"""Share of alpha for the first look: most comparisons have one, and its intervals are only 5 to 10 % wider for it."""

NEXT_LOOK = 0.5
"""Share of what is left for each further look, so that some is always left."""

MAX_CORRELATION = 0.9995
"""Of two looks: a narrower step would fall between the points of the grid."""

GRID = np.linspace(-8.0, 8.0, 1601)
STEP = GRID[1] - GRID[0]


def look_level(looks: Sequence[tuple[int, int]], alpha: float = 0.05) -> float:
    """Error probability that the last of several looks may have by itself.

    Alpha is spent look by look (Lan & DeMets 1983, Biometrika 70), and a statement that an earlier look already allowed
    to be false costs nothing again: levels come from the joint distribution of the looks, by numerical integration
    (Armitage, McPherson & Rowe 1969, JRSS A 132) on the normal scale, and are then used with t
    (Jennison & Turnbull 2000, "Group Sequential Methods", 3.8 and 9). Information is the number of runs, those of arms
    that the race dropped included. A look at nothing new costs nothing and has the level of the one before.

    Arguments:
        looks: Seeds and arms (dropped ones too) of each look, the last one being the present.
        alpha: For all looks together.
    """
    runs = np.maximum.accumulate(looks, axis=0).prod(1)
    *_, level = _levels(list(dict.fromkeys(runs.tolist())), alpha)
    return level


def _levels(information: Sequence[float], alpha: float) -> Iterator[float]:
    """Level of each look.

    `density` is that of the normal statistic where no look has exceeded its bound so far.
    """
    left, share = alpha, FIRST_LOOK
    density = np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)
    for number, now in enumerate(information):
        if number:
            density = _later(density, min(np.sqrt(information[number - 1] / now), MAX_CORRELATION))
        bound = _exceeded_with(density, share * left)
        yield float(2 * special.ndtr(-bound))
        density = np.where(np.abs(GRID) < bound, density, 0.0)
        left, share = left * (1 - share), NEXT_LOOK


def _later(density: Array, correlation: float) -> Array:
    """Density at a later look with this correlation to the current one."""
    sd = np.sqrt(1 - correlation**2)
    kernel = np.exp(-(((GRID[:, None] - correlation * GRID) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    return np.asarray(kernel @ density * STEP)


def _exceeded_with(density: Array, probability: float) -> float:
    """Bound that the absolute value exceeds with this probability."""
    both = (density + density[::-1])[GRID.size // 2 :]
    above = np.append(np.cumsum(((both[1:] + both[:-1]) / 2)[::-1])[::-1] * STEP, 0.0)
    return float(np.interp(-probability, -above, GRID[GRID.size // 2 :]))
