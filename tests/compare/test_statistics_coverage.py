"""What intervals, looks and the race promise, by simulation; docs/compare-statistics.md has more replicates."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_comparisons import (
    ARMS,
    CORRELATIONS,
    IMAGE_SD,
    IMAGES,
    LITTLE_IMAGE_SD,
    SEEDS,
    answers,
    coverage,
    false_wins,
    half_widths,
    race,
    simulate,
    with_failures,
)

from detloss.compare.statistics import droppable, infer

REPLICATES = 2_000
NOISE = 3 * (0.05 * 0.95 / REPLICATES) ** 0.5
"""What 2,000 replicates may be off by, three standard errors."""


@pytest.mark.parametrize("arms", ARMS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_coverage(seeds: int, arms: int) -> None:
    """Intervals of 95 % hold in 93 to 97 % of comparisons, all of one comparison at once, whatever seeds share."""
    for correlation in CORRELATIONS:
        for image_sd in (0.0, LITTLE_IMAGE_SD, IMAGE_SD):
            found = coverage(seeds, arms, correlation, image_sd=image_sd, replicates=REPLICATES)
            for each in (found.training, found.full, *([found.images] if image_sd else [])):
                assert 0.93 - NOISE < each < 0.97 + NOISE, (correlation, image_sd, found)


def test_failed_runs() -> None:
    """Intervals hold as often where a fifth of the runs failed."""
    for correlation in (0.0, 0.5):
        assert 0.93 - 0.03 < with_failures(5, 3, correlation, share=0.2, replicates=400) < 0.97 + 0.03


def test_the_same_loss_against_itself() -> None:
    """A loss is called better than itself with other seeds in at most 5 % of comparisons, looking three times."""
    looks = ((3, 2), (5, 2), (8, 2))
    for correlation, image_sd in ((0.0, 0.0), (0.0, IMAGE_SD), (0.5, IMAGE_SD)):
        _, better = false_wins(looks, correlation, spend=True, image_sd=image_sd, replicates=REPLICATES)
        assert better < 0.05
        either, _ = false_wins(looks, correlation, spend=False, image_sd=image_sd, replicates=REPLICATES)
        assert either > 0.06, "0.05 at each look is too much: this test can fail"


def test_what_was_simulated_is_what_infer_says() -> None:
    """`infer` gives the intervals that are simulated, up to what random halves of the images are off by."""
    runs = simulate(np.random.default_rng(0), 3, (5, 2), 0.1, IMAGE_SD)
    half = half_widths(answers(runs).full, 0.05)
    rng = np.random.default_rng(1)
    for number in range(3):
        covariance = runs.covariance[number].reshape(10, 10)
        replicates = rng.multivariate_normal(np.zeros(10), covariance, 100_000).reshape(-1, 5, 2)
        (each,) = infer(runs.y[number], replicates, images=IMAGES).contrasts
        assert each.full is not None
        assert (each.full.high - each.full.low) / 2 == pytest.approx(half[number, 0], rel=0.02)


def test_the_race_keeps_the_best() -> None:
    """After two seeds the best arm is dropped in at most 5 % of comparisons when it leads by 0.005, and 1 % by 0.02."""
    for lead, at_most in ((0.005, 0.05), (0.02, 0.01)):
        best, _ = race(lead, replicates=1_000)
        assert best <= at_most
    _, others = race(0.05, replicates=200)
    assert others > 0.9


def test_the_race_keeps_the_reference() -> None:
    """The reference is never dropped, nor is an arm that was dropped before, nor any arm after one seed."""
    y = np.array([[0.1, 0.5, 0.1, 0.1], [0.1, 0.5, 0.101, np.nan]]) + np.array([[0.0], [0.001]])
    assert droppable(y) == (2,)
    assert droppable(y, reference=2) == (0,)
    assert droppable(y[:1]) == ()
