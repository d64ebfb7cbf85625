"""Differences between all pairs of arms, their variances and degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special  # not stats, which takes a second to import

from detloss.compare.statistics.blocks import Array, BlockModel

DRAWS = 100_000
"""Draws for a critical value: its error probability is then known to within 0.07 percentage points."""


@dataclass(frozen=True)
class Pairs:
    """Arm i minus arm j for all i and j.

    Leading dimensions stay.

    Attributes:
        difference: `(..., arms, arms)`.
        variance: Of the differences.
        df: Degrees of freedom of each variance.
    """

    difference: Array
    variance: Array
    df: Array


def training_pairs(model: BlockModel) -> Pairs:
    """Differences if all were trained again with new seeds, on these images."""
    difference = model.means[..., :, None] - model.means[..., None, :]
    variance = model.residual[..., None, None] * contrast_variance(model.scale)
    return Pairs(difference, variance, np.broadcast_to(model.df[..., None, None], difference.shape))


def full_pairs(training: Pairs, images_variance: Array, images: int) -> Pairs:
    """Differences after training again and testing on new images.

    There are as many new images.

    The variances add. The critical value is the mean of those of both, weighted by the variances (Cochran & Cox 1957,
    "Experimental Designs", 4.14): `degrees_of_freedom` gives nearly that. Those of Satterthwaite are too many where few
    seeds happen to agree, and intervals of 95 % then hold in only 92 % (docs/compare-statistics.md).
    """
    df = degrees_of_freedom(training.variance, images_variance, training.df, images)
    return Pairs(training.difference, training.variance + images_variance, df)


def degrees_of_freedom(training: Array, of_images: Array, df: Array | float, images: Array | int) -> Array:
    """Weighted harmonic mean of two variances' degrees of freedom.

    N images have N - 1.
    """
    inverse = training / df + of_images / np.maximum(images - 1, 1)
    # Nothing to weigh where runs do not vary: an arm against itself, or two that learned nothing.
    return np.asarray(np.where(inverse > 0, (training + of_images) / np.where(inverse > 0, inverse, 1.0), df))


def contrast_variance(covariance: Array) -> Array:
    """Variance of i minus j from their covariance, at least 0."""
    own = np.diagonal(covariance, axis1=-2, axis2=-1)
    return np.maximum(own[..., :, None] + own[..., None, :] - 2 * covariance, 0.0)


def correlation(variance: Array, control: int) -> Array:
    """Correlation of the differences of all other arms to `control`."""
    others = np.delete(np.arange(len(variance)), control)
    own = variance[others, control]
    shared = (own[:, None] + own[None, :] - variance[np.ix_(others, others)]) / 2
    matrix = np.asarray(shared / np.sqrt(np.maximum(np.outer(own, own), np.finfo(float).tiny)))
    np.fill_diagonal(matrix, 1.0)
    return matrix


def level_of_each(correlation: Array, df: float, alpha: float, *, sides: int, shared_variance: bool = True) -> float:
    """Error probability of each comparison, for `alpha` in all together.

    The quantile of the largest of correlated t variables (Dunnett 1955, JASA 50; two-sided: Dunnett 1964, Biometrics
    20), by Monte Carlo with a fixed seed, so that any correlation will do. Without a variance in common their
    denominators are drawn independently.

    Arguments:
        correlation: Of the differences, `(comparisons, comparisons)`.
        df: Degrees of freedom of the variances.
        alpha: For all comparisons together.
        sides: 1 or 2.
        shared_variance: Whether one estimate of the variance serves all comparisons.
    """
    count = len(correlation)
    if count == 1:
        return alpha
    t = draw_t(correlation, df, columns=1 if shared_variance else count)
    largest = np.quantile((np.abs(t) if sides == 2 else t).max(1), 1 - alpha)
    return float(sides * special.stdtr(df, -largest))


def critical(level: Array | float, df: Array | float, *, sides: int) -> Array:
    """Value that a t variable exceeds with probability `level`.

    In either direction if `sides` is 2.
    """
    return np.asarray(-special.stdtrit(df, level / sides))


def draw_t(correlation: Array, df: float, *, columns: int = 1) -> Array:
    """Draw correlated t variables, the same at each call.

    `columns` is the number of denominators.
    """
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(correlation)
    z = rng.standard_normal((DRAWS, len(correlation))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return np.asarray(z / np.sqrt(rng.chisquare(df, (DRAWS, columns)) / df))


def common_df(df: Array) -> float:
    """The harmonic mean of degrees of freedom: small ones matter most."""
    return float(1 / np.mean(1 / df))
