"""`infer`: all that the runs of a comparison say about its arms."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from detloss.compare.result import Interval, Noise, Verdict
from detloss.compare.statistics.best import chances, may_be_best
from detloss.compare.statistics.blocks import Array, BlockModel, fit_blocks
from detloss.compare.statistics.equality import variances_differ
from detloss.compare.statistics.forecast import Spread, more_images, more_seeds
from detloss.compare.statistics.pairs import (
    Pairs,
    common_df,
    contrast_variance,
    correlation,
    critical,
    full_pairs,
    level_of_each,
    training_pairs,
)
from detloss.compare.statistics.replicates import beyond_seeds, half_sample_covariance, of_means

NO_VARIANCE = 1e-18
"""Variance below which runs are equal: an AP is known to 1e-9 at best."""


@dataclass(frozen=True)
class Contrast:
    """One arm minus the reference; the fields are those of `detloss.compare.result.Difference`."""

    arm: int
    estimate: float | None = None
    training: Interval | None = None
    images: Interval | None = None
    full: Interval | None = None
    degrees_of_freedom: float | None = None
    image_share: float | None = None
    verdict: Verdict = "not decided"
    more_seeds: int | None = None
    more_images: int | None = None


@dataclass(frozen=True)
class Inference:
    """What is known about all arms.

    Attributes:
        contrasts: One for each arm but the reference, in the order of the arms.
        may_be_best: For each arm, whether it is in the set that holds the best one.
        probability_best: For each arm; arms equal to the reference have its value. None without repeated runs.
        expected_loss: For each arm, what is lost on average if it is chosen and another is better.
        noise: Where the uncertainty comes from.
    """

    contrasts: tuple[Contrast, ...]
    may_be_best: tuple[bool, ...]
    probability_best: tuple[float | None, ...]
    expected_loss: tuple[float | None, ...]
    noise: Noise


def infer(
    y: Array,
    replicates: Array,
    *,
    images: int,
    reference: int = 0,
    dropped: Collection[int] = (),
    margin: float = 0.005,
    alpha: float = 0.05,
    next_alpha: float | None = None,
) -> Inference:
    """Compare all arms with the reference.

    Arguments:
        y: The metric of each run, `(seeds, arms)`; NaN where a run failed or is missing.
        replicates: The metric of each run on random halves of the images, the same for all runs,
            `(replicates, seeds, arms)`; or what `grouped_jackknife` gives.
        images: Images that the runs were tested on.
        reference: Column of the arm that all others are compared with.
        dropped: Columns that the race dropped. Such an arm looked bad just then, and could have been judged at the end
            instead: its interval has half the error probability, as one of two looks.
        margin: Differences up to this one make no difference in practice.
        alpha: Probability of a false interval of this look, all differences together.
        next_alpha: The same for the look after this one, which the forecast is for; half of `alpha` by default.
    """
    y, replicates = np.asarray(y, np.float64), np.asarray(replicates, np.float64)
    arms = range(y.shape[1])
    ran = [arm for arm in arms if np.isfinite(y[:, arm]).any()]
    same = [arm for arm in ran if arm != reference and _equal(y, replicates, arm, reference)]
    kept = [arm for arm in (reference, *(arm for arm in arms if arm != reference)) if arm in ran and arm not in same]
    column = {arm: place for place, arm in enumerate(kept)} | dict.fromkeys(same, 0)
    found = _estimate(y[:, kept], replicates[:, :, kept], images) if len(kept) > 1 else None
    contrasts: dict[int, Contrast] = {arm: Contrast(arm) for arm in arms if arm != reference}
    contrasts |= {arm: Contrast(arm, 0.0, verdict="identical") for arm in same}
    if found and kept[0] == reference:
        level = alpha / 2 if next_alpha is None else next_alpha
        divided = np.array([2.0 if arm in dropped else 1.0 for arm in kept[1:]])
        contrasts |= dict(zip(kept[1:], _contrasts(found, kept, divided, margin, (alpha, level)), strict=True))
    stay, best, loss = _choice(found, alpha)
    return Inference(
        tuple(contrasts.values()),
        tuple(arm in column and (not stay or stay[column[arm]]) for arm in arms),
        tuple(best[column[arm]] if best and arm in column else None for arm in arms),
        tuple(loss[column[arm]] if loss and arm in column else None for arm in arms),
        _noise(found, np.isfinite(y[:, kept]).sum() / len(kept), alpha) if found else Noise(**NOTHING),
    )


NOTHING = dict.fromkeys(("seed_sd", "seed_correlation", "runs_saved", "image_sd"))


@dataclass(frozen=True)
class _Estimates:
    """Differences between all arms, the reference first.

    `training` and `full` are None without repeated runs.
    """

    model: BlockModel
    images: Pairs
    training: Pairs | None
    full: Pairs | None
    beyond: Array
    runs: Array
    unequal: bool
    count: int


def _equal(y: Array, replicates: Array, arm: int, reference: int) -> bool:
    """Whether an arm's runs gave exactly the reference's numbers.

    On all images and on parts of them.
    """
    return bool(
        np.array_equal(y[:, arm], y[:, reference], equal_nan=True)
        and np.array_equal(replicates[..., arm], replicates[..., reference], equal_nan=True)
    )


def _estimate(y: Array, replicates: Array, images: int) -> _Estimates:
    there = np.isfinite(y)
    values = np.where(there, replicates, 0.0).reshape(len(replicates), -1)
    covariance = half_sample_covariance(values, images).reshape(*y.shape, *y.shape)
    model = fit_blocks(y)
    training = training_pairs(model)
    same_models = contrast_variance(of_means(covariance, model.weights))
    beyond = contrast_variance(beyond_seeds(covariance, there.astype(float)))
    repeated = bool(model.df > 0 and model.residual > NO_VARIANCE)
    unequal = repeated and variances_differ(y)
    if unequal:
        training = _pair_by_pair(y, training)
    return _Estimates(
        model,
        Pairs(training.difference, same_models, np.full_like(same_models, max(images - 1, 1))),
        training if repeated else None,
        full_pairs(training, beyond, images) if repeated else None,
        beyond,
        there.sum(0),
        unequal,
        images,
    )


def _pair_by_pair(y: Array, pooled: Pairs) -> Pairs:
    """Variances of each pair of arms at shared seeds: exact paired t."""
    variance, df = pooled.variance.copy(), pooled.df.copy()
    for first, second in zip(*np.triu_indices(y.shape[1], 1), strict=True):
        differences = y[:, first] - y[:, second]
        differences = differences[np.isfinite(differences)]
        if len(differences) > 1:
            at = [first, second], [second, first]
            variance[at] = differences.var(ddof=1) / len(differences)
            df[at] = len(differences) - 1
    return Pairs(pooled.difference, variance, df)


def _level(pairs: Pairs, alpha: float, *, shared: bool) -> float:
    df = common_df(pairs.df[1:, 0])
    return level_of_each(correlation(pairs.variance, 0), df, alpha, sides=2, shared_variance=shared)


def _intervals(pairs: Pairs, level: Array | float) -> list[Interval]:
    half = critical(level, pairs.df[1:, 0], sides=2) * np.sqrt(pairs.variance[1:, 0])
    return [Interval(low=d - h, high=d + h) for d, h in zip(pairs.difference[1:, 0], half, strict=True)]


def _contrasts(
    found: _Estimates, kept: list[int], divided: Array, margin: float, alphas: tuple[float, float]
) -> list[Contrast]:
    alpha, next_alpha = alphas
    estimates = found.images.difference[1:, 0].tolist()
    images = _intervals(found.images, _level(found.images, alpha, shared=False))
    if found.training is None or found.full is None:
        rows = zip(kept[1:], estimates, images, strict=True)
        return [Contrast(arm, estimate, images=interval) for arm, estimate, interval in rows]
    shared = not found.unequal
    training = _intervals(found.training, _level(found.training, alpha, shared=shared) / divided)
    level = _level(found.full, alpha, shared=shared) / divided
    full = _intervals(found.full, level)
    contrasts = []
    for place, estimate in enumerate(estimates, start=1):
        interval = full[place - 1]
        verdict = _verdict(interval, margin)
        spread = _spread(found, found.training, place)
        further = float(level[place - 1]) * next_alpha / alpha
        undecided = verdict == "not decided"
        contrasts.append(
            Contrast(
                kept[place],
                estimate,
                training[place - 1],
                images[place - 1],
                interval,
                float(found.full.df[place, 0]),
                float(found.beyond[place, 0] / found.full.variance[place, 0]),
                verdict,
                more_seeds(spread, estimate, margin, further) if undecided else None,
                more_images(spread, estimate, margin, further) if undecided else None,
            )
        )
    return contrasts


def _spread(found: _Estimates, training: Pairs, place: int) -> Spread:
    beyond = float(found.beyond[place, 0])
    return Spread(
        training=float(training.variance[place, 0]),
        interaction=max(float(found.images.variance[place, 0]) - beyond, 0.0),
        images=beyond,
        df=float(training.df[place, 0]),
        seeds=common_df(found.runs[[0, place]]),
        count=found.count,
    )


def _verdict(interval: Interval, margin: float) -> Verdict:
    if -margin <= interval.low and interval.high <= margin:
        return "equivalent"
    if interval.low > 0:
        return "better"
    return "worse" if interval.high < 0 else "not decided"


def _choice(found: _Estimates | None, alpha: float) -> tuple[tuple[bool, ...], list[float], list[float]]:
    """Possible best arms, probabilities and losses; empty without repeated runs."""
    if found is None or found.full is None:
        return (), [], []
    best, loss = chances(found.full)
    # Half of alpha: this is one side of the two-sided intervals, so that set and verdicts agree.
    return may_be_best(found.full, alpha / 2, shared_variance=not found.unequal), best.tolist(), loss.tolist()


def _noise(found: _Estimates, seeds: float, alpha: float) -> Noise:
    image_sd = float(np.median(np.sqrt(found.beyond[1:, 0])))
    if found.training is None:
        return Noise(**{**NOTHING, "image_sd": float(np.median(np.sqrt(found.images.variance[1:, 0])))})
    total = float(found.model.residual + found.model.seed)
    return Noise(
        seed_sd=total**0.5,
        seed_correlation=float(found.model.seed) / total,
        runs_saved=_runs_saved(found.model, seeds, alpha),
        image_sd=image_sd,
        unequal=found.unequal,
    )


def _runs_saved(model: BlockModel, seeds: float, alpha: float) -> float:
    """Extra runs needed for an equally wide interval without shared seeds.

    The interval is that for training and one pair.
    """
    arms, residual, total = len(model.means), float(model.residual), float(model.residual + model.seed)
    width = critical(alpha, model.df, sides=2) * np.sqrt(residual / seeds)

    def excess(other: float) -> float:
        return float(critical(alpha, arms * (other - 1), sides=2) * np.sqrt(total / other) - width)

    needed = optimize.brentq(excess, 1 + 1e-3, 1e6)
    return arms * (float(needed) - seeds)
