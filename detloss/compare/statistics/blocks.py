"""The block model ``metric = arm + seed + noise``; arms share seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]

MAX_SEED_SHARE = 1 - 1e-6
"""Upper end of the search for the seeds' share of the variance."""


@dataclass(frozen=True)
class BlockModel:
    """Estimates of the block model; leading dimensions are kept.

    Attributes:
        means: Mean of each arm, `(..., arms)`.
        weights: Weight of each run in each mean, `(arms, seeds, arms)`, zero for a run that is missing.
        scale: Covariance of the means over the residual variance, `(arms, arms)`.
        residual: Variance between runs of one arm that sharing the seed does not remove.
        seed: Variance between seeds that all arms share, at least 0.
        df: Degrees of freedom of `residual`.
    """

    means: Array
    weights: Array
    scale: Array
    residual: Array
    seed: Array
    df: Array


def fit_blocks(y: Array) -> BlockModel:
    """Fit the block model to `(seeds, arms)`; NaN is a missing run.

    Each arm has a run.

    Variances are estimated by restricted maximum likelihood, the seeds' at least zero (Patterson & Thompson 1971,
    Biometrika 58; Searle, Casella & McCulloch 1992, "Variance Components", 3.8). Degrees of freedom follow: those of
    the residuals where seeds differ, and else half of the seeds' besides, since "the seeds do not differ" is read
    from the same runs (docs/compare-statistics.md has the coverage with all, half and none of them).
    """
    return _balanced(y) if np.isfinite(y).all() else _unbalanced(y)


def _balanced(y: Array) -> BlockModel:
    """Closed form, for any number of leading dimensions."""
    seeds, arms = y.shape[-2:]
    means, blocks = y.mean(-2), y.mean(-1)
    center = means.mean(-1)
    residuals = y - blocks[..., None] - means[..., None, :] + center[..., None, None]
    ss_residual, ss_seeds = (residuals**2).sum((-2, -1)), arms * ((blocks - center[..., None]) ** 2).sum(-1)
    df_seeds = seeds - 1
    df_residual = df_seeds * (arms - 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # one seed, or one arm: nothing to divide
        ms_residual, ms_seeds = ss_residual / np.float64(df_residual), ss_seeds / np.float64(df_seeds)
        pooled = (ss_residual + ss_seeds) / np.float64(df_residual + df_seeds)
    differ = ms_seeds > ms_residual
    weights = np.einsum("ab,s->asb", np.eye(arms), np.full(seeds, 1 / seeds))
    return BlockModel(
        means,
        weights,
        np.eye(arms) / seeds,
        np.where(differ, ms_residual, pooled),
        np.where(differ, (ms_seeds - ms_residual) / arms, 0.0),
        np.where(differ, df_residual, df_residual + df_seeds / 2),
    )


def _unbalanced(y: Array) -> BlockModel:
    """Generalized least squares at the REML estimate of the seed variance."""
    there = np.isfinite(y)
    runs, arms = int(there.sum()), y.shape[1]
    df_all = runs - arms
    df_residual = runs - int(np.linalg.matrix_rank(_incidence(there)))
    share = 0.0
    if df_residual and df_all > df_residual:
        best = optimize.minimize_scalar(
            lambda share: _solve(y, there, share)[3], bounds=(0.0, MAX_SEED_SHARE), method="bounded"
        )
        share = float(best.x) if best.fun < _solve(y, there, 0.0)[3] else 0.0
    weights, scale, squares, _ = _solve(y, there, share)
    residual = squares / df_all if df_all else np.nan
    df_seeds = df_all - df_residual
    return BlockModel(
        np.einsum("asb,sb->a", weights, np.where(there, y, 0.0)),
        weights,
        scale,
        np.asarray(residual),
        np.asarray(residual * share / (1 - share)),
        np.asarray(float(df_residual if share else df_residual + (df_seeds / 2 if df_residual else df_seeds))),
    )


def _incidence(there: NDArray[np.bool_]) -> Array:
    """Arm and seed of each run as a 0-1 matrix."""
    seed, arm = np.nonzero(there)
    return np.hstack([np.eye(there.shape[1])[arm], np.eye(there.shape[0])[seed]])


def _solve(y: Array, there: NDArray[np.bool_], share: float) -> tuple[Array, Array, float, float]:
    """Weights, scale, sum of squares and -2 log restricted likelihood.

    Seeds have `share` of the variance.
    """
    ratio = share / (1 - share)
    present = there.astype(float)
    count = present.sum(1)
    shrink = ratio / (1 + ratio * count)
    information = np.diag(present.sum(0)) - np.einsum("s,sa,sb->ab", shrink, present, present)
    scale = np.linalg.inv(information)
    values = np.where(there, y, 0.0)
    # Rows of the inverse covariance of the runs of one seed: I - shrink J.
    precision = np.einsum("sa,ab->sab", present, np.eye(y.shape[1])) - np.einsum(
        "s,sa,sb->sab", shrink, present, present
    )
    weights = np.einsum("ab,sbc->asc", scale, precision)
    means = np.einsum("asb,sb->a", weights, values)
    errors = np.where(there, values - means, 0.0)
    squares = float(np.einsum("sa,sab,sb->", errors, precision, errors))
    df = int(present.sum()) - y.shape[1]
    deviance = df * np.log(max(squares, np.finfo(float).tiny)) + np.log1p(ratio * count).sum()
    return weights, scale, squares, float(deviance - np.linalg.slogdet(scale)[1])
