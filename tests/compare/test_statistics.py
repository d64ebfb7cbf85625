"""`infer`: from the numbers of runs to intervals, verdicts and forecasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detloss.compare.statistics import Inference, infer
from detloss.compare.statistics.blocks import Array

IMAGES = 100


def simulated(effects: list[float], *, seeds: int, seed: int = 0, noise: float = 0.01) -> tuple[Array, Array]:
    """Metrics of runs and their replicates: means over images of arm + seed + what images do to arms and models."""
    rng = np.random.default_rng(seed)
    arms = len(effects)
    images = 0.03 * rng.normal(size=(IMAGES, 1, arms)) + 0.05 * rng.normal(size=(IMAGES, seeds, arms))
    runs = 0.6 + np.array(effects) + noise * rng.normal(size=(seeds, arms)) + 0.2 * noise * rng.normal(size=(seeds, 1))
    halves = [rng.permutation(IMAGES)[: IMAGES // 2] for _ in range(500)]
    return runs + images.mean(0), runs + np.stack([images[half].mean(0) for half in halves])


def of(effects: list[float], *, seeds: int, **options: Any) -> Inference:
    return infer(*simulated(effects, seeds=seeds), images=IMAGES, **options)


def test_no_torch(run_python: Callable[..., Any]) -> None:
    """In a fresh process the statistics load no torch."""
    program = "import sys, detloss.compare.statistics\nassert not {'torch', 'torchvision'} & sys.modules.keys()"
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr


def test_verdicts() -> None:
    """A large gain is better, a large loss worse, a small difference known well is equivalent, else it is open."""
    found = of([0.0, 0.05, -0.05, 0.005], seeds=5)
    assert [each.verdict for each in found.contrasts] == ["better", "worse", "not decided"]
    assert of([0.0, 0.05, 0.005], seeds=5, margin=0.1).contrasts[1].verdict == "equivalent"


def test_the_reference_is_any_arm() -> None:
    """With another reference the same difference has the other sign, and the arms keep their order."""
    y, replicates = simulated([0.0, 0.05], seeds=5)
    (one,) = infer(y, replicates, images=IMAGES).contrasts
    (other,) = infer(y, replicates, images=IMAGES, reference=1).contrasts
    assert (one.arm, other.arm) == (1, 0)
    assert one.full is not None
    assert other.full is not None
    assert (other.full.low, other.full.high) == pytest.approx((-one.full.high, -one.full.low))


def test_intervals_are_nested() -> None:
    """New training and new images is less certain than either of them."""
    for each in of([0.0, 0.0, 0.0], seeds=5).contrasts:
        assert each.training is not None
        assert each.full is not None
        assert each.full.low < each.training.low < each.training.high < each.full.high


def test_one_run_each() -> None:
    """One run of each loss has an interval for new images, and nothing about new training; no loss is excluded."""
    found = of([0.0, 0.3], seeds=1)
    (each,) = found.contrasts
    assert each.images is not None
    assert (each.training, each.full, each.verdict) == (None, None, "not decided")
    assert found.may_be_best == (True, True)
    assert found.probability_best == (None, None)


def test_identical_arms() -> None:
    """An arm whose runs give the reference's numbers is identical, without an interval; others are not affected."""
    y, replicates = simulated([0.0, 0.0, 0.05], seeds=5)
    y[:, 1], replicates[..., 1] = y[:, 0], replicates[..., 0]
    found = infer(y, replicates, images=IMAGES)
    assert found.contrasts[0].verdict == "identical"
    assert (found.contrasts[0].estimate, found.contrasts[0].full) == (0, None)
    without = infer(y[:, [0, 2]], replicates[..., [0, 2]], images=IMAGES)
    assert found.contrasts[1].full == without.contrasts[0].full
    assert found.may_be_best == (False, False, True)


def test_seeds_without_effect() -> None:
    """Runs that do not differ between seeds say nothing about retraining."""
    y, replicates = simulated([0.0, 0.05], seeds=1)
    (each,) = infer(np.repeat(y, 3, 0), np.repeat(replicates, 3, 1), images=IMAGES).contrasts
    assert (each.training, each.full, each.verdict) == (None, None, "not decided")


def test_failed_runs() -> None:
    """A failed run widens the arm's intervals; an arm without any finished run has no estimate."""
    y, replicates = simulated([0.0, 0.02, 0.02, 0.0], seeds=4)
    for seed, arm in ((2, 1), (3, 1), (slice(None), 3)):
        y[seed, arm], replicates[:, seed, arm] = np.nan, np.nan
    found = infer(y, replicates, images=IMAGES)
    short, whole, none = found.contrasts
    assert short.full is not None
    assert whole.full is not None
    assert short.full.high - short.full.low > whole.full.high - whole.full.low
    assert (none.estimate, none.full, none.verdict) == (None, None, "not decided")
    assert found.may_be_best[3] is False
    y[:, 0], replicates[..., 0] = np.nan, np.nan
    assert [each.estimate for each in infer(y, replicates, images=IMAGES).contrasts] == [None, None, None]


def test_the_best() -> None:
    """The set that may be best holds what is close to the top; chances add up, and the best costs least."""
    found = of([0.0, 0.05, 0.052, 0.02], seeds=8)
    assert found.may_be_best == (False, True, True, False)
    assert sum(p for p in found.probability_best if p is not None) == pytest.approx(1)
    loss = [each for each in found.expected_loss if each is not None]
    assert loss[0] == max(loss) == pytest.approx(0.05, abs=0.015)


def test_an_arm_that_scatters_more() -> None:
    """Where one arm's runs scatter far more, each pair has its own interval, and steady pairs narrow ones."""
    y, replicates = simulated([0.0, 0.0, 0.0], seeds=8)
    y[:, 2] += 0.1 * np.random.default_rng(1).normal(size=8)
    found = infer(y, replicates, images=IMAGES)
    assert found.noise.unequal
    steady, wild = found.contrasts
    assert steady.training is not None
    assert wild.training is not None
    assert wild.training.high - wild.training.low > 4 * (steady.training.high - steady.training.low)
    assert not of([0.0, 0.0, 0.0], seeds=8).noise.unequal


def test_an_arm_that_the_race_dropped() -> None:
    """The race picks the moment at which an arm looks bad, so the arm's interval is wider than with so few seeds."""
    y, replicates = simulated([0.0, 0.0, 0.0], seeds=5)
    y[2:, 2], replicates[:, 2:, 2] = np.nan, np.nan
    plain, dropped = infer(y, replicates, images=IMAGES), infer(y, replicates, images=IMAGES, dropped=[2])
    assert dropped.contrasts[0] == plain.contrasts[0]
    assert plain.contrasts[1].full is not None
    assert dropped.contrasts[1].full is not None
    assert dropped.contrasts[1].full.low < plain.contrasts[1].full.low
    assert dropped.contrasts[1].full.high > plain.contrasts[1].full.high


def test_arms_that_learned_nothing() -> None:
    """Two arms with an AP of zero in every run are as good as each other, worse than the reference, and no fault."""
    y, replicates = simulated([0.0, 0.0, 0.0], seeds=5)
    y[:, 1:], replicates[..., 1:] = 0.0, 0.0
    found = infer(y, replicates, images=IMAGES)
    assert [each.verdict for each in found.contrasts] == ["worse", "worse"]
    assert found.may_be_best == (True, False, False)
    found = infer(y, replicates, images=IMAGES, reference=1)
    assert [each.verdict for each in found.contrasts] == ["better", "identical"]


def test_one_image() -> None:
    """One test image is no sample, and no fault either: halves of it say nothing."""
    y, replicates = simulated([0.0, 0.01], seeds=3)
    (each,) = infer(y, 0 * replicates, images=1).contrasts
    assert each.full == each.training


def test_forecast() -> None:
    """What is open says what would decide, and where the images are the limit that no seeds would."""
    _, replicates = simulated([0.0, 0.0], seeds=3)
    (each,) = infer(np.array([[0.60, 0.61], [0.59, 0.62], [0.61, 0.62]]), replicates, images=IMAGES).contrasts
    assert each.verdict == "not decided"
    assert each.more_seeds is not None
    assert each.more_seeds > 0
    of_images = np.repeat(0.005 * np.random.default_rng(0).normal(size=(500, 1, 2)), 3, axis=1)
    (each,) = infer(np.array([[0.600, 0.606], [0.590, 0.5965], [0.61, 0.6155]]), of_images, images=IMAGES).contrasts
    assert each.verdict == "not decided"
    assert each.more_seeds is None
    assert each.more_images is not None


def test_what_pairing_is_worth() -> None:
    """Seeds that matter to all arms alike save runs; where they do not matter, being ready for it costs some."""
    _, replicates = simulated([0.0, 0.01], seeds=6)
    y = np.array([[0.1, 0.2], [0.2, 0.1], [0.1, 0.2], [0.2, 0.1], [0.1, 0.2], [0.2, 0.1]])
    for seeds, least, most in ((0 * y[:, :1], -1, 0), (np.linspace(0, 2, 6)[:, None], 12, 10_000)):
        saved = infer(y + seeds, replicates, images=IMAGES).noise.runs_saved
        assert saved is not None
        assert least < saved < most
