"""What more seeds or images would decide, and what a planned comparison can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detloss.compare.statistics.blocks import Array
from detloss.compare.statistics.pairs import critical

MAX_MORE_SEEDS = 50
"""More than this nobody trains to decide between two losses."""

MAX_TIMES_IMAGES = 20
"""Nor does anybody label twenty times the test images."""


@dataclass(frozen=True)
class Spread:
    """Where the variance of one difference comes from.

    Attributes:
        training: Variance that training again adds; it falls as 1 / seeds.
        interaction: Part of `training` that is due to how an image meets one trained model; it falls with images too.
        images: Variance from the images that more seeds do not remove; it falls as 1 / images.
        df: Degrees of freedom of `training`.
        seeds: Runs of each arm.
        count: Images.
    """

    training: float
    interaction: float
    images: float
    df: float
    seeds: float
    count: int


def half_width(spread: Spread, level: float, *, seeds: Array | float = 0.0, images: Array | float = 0.0) -> Array:
    """Half the width of the interval for new training and new images, with so many more seeds and images."""
    now, total, count = spread.seeds, spread.seeds + seeds, spread.count + np.asarray(images)
    fewer = spread.count / count
    interaction = min(spread.interaction, spread.training)
    training = (spread.training - interaction * (1 - fewer)) * now / total
    beyond = spread.images * fewer
    df = spread.df * np.maximum(total - 1, 1e-9) / max(now - 1, 1e-9)
    variance = training + beyond
    df_all = variance**2 / (training**2 / df + beyond**2 / (count - 1))
    return np.asarray(critical(level, df_all, sides=2) * np.sqrt(variance))


def more_seeds(spread: Spread, estimate: float, margin: float, level: float) -> int | None:
    """Further seeds that would decide if the estimate stayed; None where none would."""
    further = np.arange(1.0, MAX_MORE_SEEDS + 1)
    enough = _decides(estimate, half_width(spread, level, seeds=further), margin)
    return int(further[enough.argmax()]) if enough.any() else None


def more_images(spread: Spread, estimate: float, margin: float, level: float) -> int | None:
    """Further images that would decide if the estimate stayed, to two digits; None where none would."""
    further = np.ceil(np.geomspace(0.05, MAX_TIMES_IMAGES - 1, 200) * spread.count)
    enough = _decides(estimate, half_width(spread, level, images=further), margin)
    if not enough.any():
        return None
    number = further[enough.argmax()]
    digit = 10.0 ** max(0, int(np.log10(number)) - 1)
    return int(np.ceil(number / digit) * digit)


def _decides(estimate: float, half: Array, margin: float) -> Array:
    return np.asarray((abs(estimate) > half) | (abs(estimate) + half <= margin))
