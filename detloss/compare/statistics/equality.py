"""Whether one arm's runs scatter more than those of the other arms."""

from __future__ import annotations

import numpy as np
from scipy import special

from detloss.compare.statistics.blocks import Array

MAX_RATIO = 4.0
"""Ratio of variances above which pairs are compared by themselves; docs/compare-statistics.md has what it is worth."""

SIGNIFICANCE = 0.05
"""Few seeds give such a ratio by chance: it must also be unlikely for equal arms, all arms together."""


def variances_differ(y: Array) -> bool:
    """Whether an arm's variance is significantly more than 4 times the others'.

    There must be at least three arms.

    Each arm minus the mean of the others is free of seed effects and independent of the residuals among the others, so
    the ratio of both mean squares is an F ratio (Shukla 1972, Heredity 29). Bonferroni over the arms.

    Arguments:
        y: `(seeds, arms)`, NaN for a missing run; arms with fewer runs than others, and seeds with a gap, do not count.
    """
    runs = np.isfinite(y).sum(0)
    whole = y[:, runs == runs.max()]
    whole = whole[np.isfinite(whole).all(1)]
    seeds, arms = whole.shape
    if seeds < 3 or arms < 3:
        return False
    residuals = whole - whole.mean(0) - whole.mean(1, keepdims=True) + whole.mean()
    squares = (residuals**2).sum(0) * arms / (arms - 1)
    rest = (residuals**2).sum() - squares
    df, df_rest = seeds - 1, (seeds - 1) * (arms - 2)
    f = np.divide(squares / df, rest / df_rest, out=np.full(arms, np.inf), where=rest > 0)
    ratio = (arms * f - 1) / (arms - 1)
    return bool(((ratio > MAX_RATIO) & (special.fdtrc(df, df_rest, f) < SIGNIFICANCE / arms)).any())
