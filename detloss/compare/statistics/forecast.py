"""What more seeds or images would decide, and a plan's resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detloss.compare.statistics.blocks import Array
from detloss.compare.statistics.pairs import critical, degrees_of_freedom, level_of_each

MAX_MORE_SEEDS = 50
"""Further seeds of a forecast at most: more cost too much to decide between two losses."""

MAX_TIMES_IMAGES = 20
"""Times the test images of a forecast at most: more cost too much to label."""

SEED_SD = 0.012
"""Standard deviation of AP between two trainings of one loss, where nothing is known: 0.010 to 0.015 were measured."""

IMAGE_SD = 0.02
"""Standard error of a difference from 1 test image that more seeds leave, in the same way: 0.018 was measured."""

POWER = 0.8
"""Probability with which a difference is to be seen, for the smallest one that "one would see"."""


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


@dataclass(frozen=True)
class Expected:
    """What a planned comparison can be expected to say.

    Attributes:
        half_width: Half the width of each interval for new training and new images.
        detectable: Smallest true difference that it would call better or worse in 8 of 10 cases.
    """

    half_width: float
    detectable: float


def expect(
    arms: int,
    seeds: int,
    images: int,
    *,
    seed_sd: float = SEED_SD,
    image_sd: float | None = None,
    alpha: float = 0.05,
) -> Expected | None:
    """Return what a planned comparison can show.

    None with one arm or one seed.

    Arguments:
        arms: The reference included.
        seeds: Runs of each arm.
        images: Test images.
        seed_sd: Standard deviation of the metric between two trainings of one arm.
        image_sd: Standard error of a difference that comes from the images; None takes 0.02 / sqrt(images).
        alpha: What the first look may use: `look_level([(seeds, arms)])`.
    """
    if arms < 2 or seeds < 2:
        return None
    beyond = IMAGE_SD**2 / images if image_sd is None else image_sd**2
    df = (seeds - 1) * (arms - 1)
    spread = Spread(2 * seed_sd**2 / seeds, 0.0, beyond, df, seeds, images)
    between = np.full((arms - 1, arms - 1), 0.5) + np.eye(arms - 1) / 2  # differences share the reference
    half = float(half_width(spread, level_of_each(between, df, alpha, sides=2)))
    return Expected(half, half + float(half_width(spread, 2 * (1 - POWER))))


def half_width(spread: Spread, level: float, *, seeds: Array | float = 0.0, images: Array | float = 0.0) -> Array:
    """Half the interval's width with so many more seeds and images.

    It is the interval for new training and new images.
    """
    now, total, count = spread.seeds, spread.seeds + seeds, spread.count + np.asarray(images)
    fewer = spread.count / count
    interaction = min(spread.interaction, spread.training)
    training = (spread.training - interaction * (1 - fewer)) * now / total
    beyond = spread.images * fewer
    df = spread.df * np.maximum(total - 1, 1e-9) / max(now - 1, 1e-9)
    variance = training + beyond
    return np.asarray(critical(level, degrees_of_freedom(training, beyond, df, count), sides=2) * np.sqrt(variance))


def more_seeds(spread: Spread, estimate: float, margin: float, level: float) -> int | None:
    """Further seeds that would decide at this estimate, or None."""
    further = np.arange(1.0, MAX_MORE_SEEDS + 1)
    enough = _decides(estimate, half_width(spread, level, seeds=further), margin)
    return int(further[enough.argmax()]) if enough.any() else None


def more_images(spread: Spread, estimate: float, margin: float, level: float) -> int | None:
    """Further images that would decide at this estimate, or None.

    Rounded to two digits.
    """
    further = np.ceil(np.geomspace(0.05, MAX_TIMES_IMAGES - 1, 200) * spread.count)
    enough = _decides(estimate, half_width(spread, level, images=further), margin)
    if not enough.any():
        return None
    number = further[enough.argmax()]
    digit = 10.0 ** max(0, int(np.log10(number)) - 1)
    return int(np.ceil(number / digit) * digit)


def _decides(estimate: float, half: Array, margin: float) -> Array:
    return np.asarray((abs(estimate) > half) | (abs(estimate) + half <= margin))
