"""The effect of finitely many images, from random halves of them."""

from __future__ import annotations

import numpy as np

from detloss.compare.statistics.blocks import Array


def half_sample_covariance(replicates: Array, images: int) -> Array:
    """Covariance of metrics on `images` images, from `(replicates, metrics)` on `images // 2` of them.

    A mean over m of N images taken without replacement has variance s²/m (1 - m/N) about the mean over all N; the mean
    over N images of a population has s²/N. At m = N/2 the two are equal, otherwise they differ by the factor
    m / (N - m) (McCarthy 1969, "Pseudo-replication: half samples"; Shao & Tu 1995, "The Jackknife and Bootstrap", 5.2).
    """
    taken = images // 2
    return np.atleast_2d(np.cov(replicates, rowvar=False)) * (taken / (images - taken))


def grouped_jackknife(without: Array, images: int) -> Array:
    """Turn metrics without one group of images into half replicates.

    The delete-a-group jackknife has covariance (G - 1)/G times the sum of squares over G groups (Wolter 2007,
    "Introduction to Variance Estimation", 4.2); here each deviation is stretched so that both agree.
    """
    groups, taken = len(without), images // 2
    center = without.mean(0)
    return np.asarray(center + (without - center) * (groups - 1) / np.sqrt(groups * taken / (images - taken)))


def of_means(covariance: Array, weights: Array) -> Array:
    """Covariance `(arms, arms)` of the arms' means on new images.

    The models stay the same.

    Arguments:
        covariance: Of the runs, `(..., seeds, arms, seeds, arms)`, zero where a run is missing.
        weights: Of the runs in each mean, `(arms, seeds, arms)`.
    """
    return np.asarray(np.einsum("isa,...satb,jtb->...ij", weights, covariance, weights))


def beyond_seeds(covariance: Array, there: Array) -> Array:
    """Covariance `(arms, arms)` from images that more seeds would not remove.

    Two runs with different seeds share what an image does to an arm, and nothing of what it does to one trained model.
    Their covariance is therefore the part that stays (covariance between groups, as for crossed random effects:
    Searle, Casella & McCulloch 1992, 4.3). An arm with one run has no such pair, and counts as a whole.

    Arguments:
        covariance: Of the runs, `(..., seeds, arms, seeds, arms)`, zero where a run is missing.
        there: 1 for a run, 0 for one that is missing, `(seeds, arms)`.
    """
    pairs = np.einsum("sa,tb->satb", there, there)
    other = pairs * (1 - np.eye(len(there)))[:, None, :, None]
    count = other.sum((0, 2))
    lone = count == 0
    pairs = np.where(lone[None, :, None, :], pairs, other)
    return np.asarray(np.einsum("...satb,satb->...ab", covariance, pairs) / np.maximum(pairs.sum((0, 2)), 1))
