"""Forecasts against the intervals that they forecast."""

from __future__ import annotations

import pytest
from scipy import stats

from detloss.compare.statistics import expect
from detloss.compare.statistics.forecast import Spread, half_width, more_images, more_seeds

SPREAD = Spread(training=4e-4, interaction=1e-4, images=1e-4, df=4.0, seeds=3.0, count=100)


def test_now() -> None:
    """With nothing added it is the interval at hand: variances add, degrees of freedom are a weighted harmonic mean."""
    df = 5e-4 / (4e-4 / 4 + 1e-4 / 99)
    assert half_width(SPREAD, 0.05) == pytest.approx(stats.t.isf(0.025, df) * 5e-4**0.5)


def test_more_seeds_are_just_enough() -> None:
    """So many seeds give an interval that excludes zero, one seed less does not."""
    seeds = more_seeds(SPREAD, 0.03, 0.005, 0.05)
    assert seeds is not None
    assert half_width(SPREAD, 0.05, seeds=seeds) < 0.03 <= half_width(SPREAD, 0.05, seeds=seeds - 1)


def test_more_images_are_just_enough() -> None:
    """So many images give an interval that excludes zero, a tenth less does not."""
    spread = Spread(training=1e-4, interaction=0.5e-4, images=4e-4, df=8.0, seeds=5.0, count=100)
    images = more_images(spread, 0.03, 0.005, 0.05)
    assert images is not None
    assert half_width(spread, 0.05, images=images) < 0.03 <= half_width(spread, 0.05, images=images * 0.9)


def test_neither_decides_what_is_within_the_noise_of_the_other() -> None:
    """Where images alone are too uncertain no seed helps, and the other way round; a margin may decide as well."""
    assert more_seeds(SPREAD, 0.001, 0.0001, 0.05) is None
    assert more_images(SPREAD, 0.001, 0.0001, 0.05) is None
    assert more_seeds(SPREAD, 0.001, 0.03, 0.05) is not None


def test_a_plan() -> None:
    """What a plan can see is Student's interval with as many seeds; few images and fewer seeds widen it."""
    plan = expect(2, 5, 10**9, seed_sd=0.01)
    assert plan is not None
    assert plan.half_width == pytest.approx(stats.t.isf(0.025, 4) * 0.01 * (2 / 5) ** 0.5, rel=1e-3)
    assert plan.detectable == pytest.approx(plan.half_width + stats.t.isf(0.2, 4) * 0.01 * (2 / 5) ** 0.5, rel=1e-3)
    for wider in (expect(2, 5, 10, seed_sd=0.01), expect(2, 3, 10**9, seed_sd=0.01)):
        assert wider is not None
        assert wider.half_width > 1.1 * plan.half_width


@pytest.mark.parametrize(("arms", "seeds"), [(1, 5), (3, 1)])
def test_a_plan_that_can_see_nothing(arms: int, seeds: int) -> None:
    """One arm, or one seed, compares nothing."""
    assert expect(arms, seeds, 100) is None
