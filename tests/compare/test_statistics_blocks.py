"""The block model against numbers worked out by hand, and its two ways against each other."""

from __future__ import annotations

import numpy as np
import pytest

from detloss.compare.statistics.blocks import fit_blocks

NAN = np.nan


def test_seeds_that_differ() -> None:
    """What seeds share is taken out of the noise.

    By hand: seed means 2, 4, 6.5, arm means 3, 5.3333, in all 4.1667; residuals -+ (d - 2.3333) / 2 of the differences
    d = 2, 2, 3: 2 * (1/36 + 1/36 + 4/36) = 1/3 with 2 degrees of freedom, so 1/6; seeds
    2 * (2.1667² + 0.1667² + 2.3333²) / 2 = 10.1667, so the seed variance is (10.1667 - 0.1667) / 2 = 5.
    """
    model = fit_blocks(np.array([[1.0, 3.0], [3.0, 5.0], [5.0, 8.0]]))
    assert model.means == pytest.approx([3, 16 / 3])
    assert model.residual == pytest.approx(1 / 6)
    assert model.seed == pytest.approx(5)
    assert model.df == 2


def test_seeds_that_do_not_differ() -> None:
    """Without a common effect of seeds all scatter is noise, and half of the seeds' degrees of freedom count.

    By hand: seed means 2, 2, 2; scatter within arms 2 (1, 2, 3) + 2 (3, 2, 1) = 4 over 4 degrees of freedom.
    """
    model = fit_blocks(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]))
    assert (model.residual, model.seed, model.df) == (pytest.approx(1), 0, 3)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 3.0])
def test_both_ways_agree(seed_sd: float) -> None:
    """A seed without any pair adds nothing: the search for the likelihood finds what the closed form says."""
    rng = np.random.default_rng(int(seed_sd))
    y = rng.normal(size=(5, 3)) + seed_sd * rng.normal(size=(5, 1))
    closed, searched = fit_blocks(y), fit_blocks(np.vstack([y, np.full(3, NAN)]))
    assert searched.residual == pytest.approx(closed.residual, rel=1e-3)
    assert searched.seed == pytest.approx(closed.seed, rel=1e-2, abs=1e-3)
    assert searched.df == closed.df
    assert searched.means == pytest.approx(closed.means)


def test_an_arm_with_fewer_seeds_is_compared_at_equal_seeds() -> None:
    """Where seeds differ much, an arm that only ran on bad seeds is not blamed for them."""
    y = np.array([[0.10, 0.12, 0.11], [0.50, 0.52, 0.512], [0.90, 0.921, NAN], [0.95, 0.969, NAN]])
    means = fit_blocks(y).means
    assert means[2] - means[0] == pytest.approx(0.011, abs=0.001)


def test_seeds_that_nobody_shares() -> None:
    """Runs on seeds of their own are two plain samples: variance and degrees of freedom of Student's test."""
    y = np.array([[1.0, NAN], [2.0, NAN], [3.0, NAN], [NAN, 4.0], [NAN, 6.0]])
    model = fit_blocks(y)
    assert model.residual == pytest.approx((2 + 2) / 3)
    assert (model.seed, model.df) == (0, 3)


def test_one_run_each() -> None:
    """One run of each arm says nothing about the noise."""
    assert fit_blocks(np.array([[0.7, 0.8]])).df == 0
