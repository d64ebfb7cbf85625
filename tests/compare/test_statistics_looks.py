"""Levels of looks against those of others and against simulation."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from detloss.compare.statistics import look_level


def test_the_first_look_has_most_of_alpha() -> None:
    """One look may err with probability 0.04 of 0.05, whatever its size."""
    assert look_level([(5, 3)]) == pytest.approx(0.04, rel=1e-3)
    assert look_level([(3, 2)], alpha=0.1) == pytest.approx(0.08, rel=1e-3)


def test_all_looks_together() -> None:
    """Of normal statistics without effect 4.75 % exceed their bound at one of three looks or more."""
    rng = np.random.default_rng(0)
    seeds = [3, 5, 8]
    levels = [look_level([(each, 3) for each in seeds[: n + 1]]) for n in range(3)]
    sums = rng.standard_normal((400_000, 8)).cumsum(1)[:, np.array(seeds) - 1] / np.sqrt(seeds)
    ever = (np.abs(sums) > [-NormalDist().inv_cdf(level / 2) for level in levels]).any(1).mean()
    assert ever == pytest.approx(0.05 * (1 - 0.2 * 0.25), abs=0.0011)
    assert look_level([(each, 3) for each in range(3, 23)]) > 0, "something is always left"


def test_nothing_new_costs_nothing() -> None:
    """To look again at the same runs, or after an arm was dropped, is no further look."""
    assert look_level([(5, 3), (5, 3), (5, 3)]) == look_level([(5, 3)])
    assert look_level([(5, 3), (8, 2)]) == look_level([(5, 3), (8, 3)])


def test_something_new_costs() -> None:
    """More seeds or more arms are a further look; the more is new, the less of alpha it can have."""
    first = look_level([(5, 3)])
    assert first > look_level([(5, 3), (6, 3)]) > look_level([(5, 3), (10, 3)]) > 0.005
    assert first > look_level([(5, 3), (5, 4)]) > 0.005
