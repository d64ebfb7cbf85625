"""Probabilities of each arm to be best, and costs of wrong choices."""

from __future__ import annotations

import numpy as np

from detloss.compare.statistics.blocks import Array
from detloss.compare.statistics.pairs import DRAWS, Pairs, common_df, correlation, critical, draw_t, level_of_each


def may_be_best(pairs: Pairs, alpha: float, *, shared_variance: bool) -> tuple[bool, ...]:
    """Set of arms that holds the best with probability `1 - alpha`.

    Multiple comparisons with the best (Hsu 1984, Annals of Statistics 12; 1996, "Multiple Comparisons", 4): an arm
    stays while no other is above it by more than a one-sided critical value of Dunnett's with that arm as control.
    """
    arms = len(pairs.difference)
    stays = []
    for arm in range(arms):
        others = np.delete(np.arange(arms), arm)
        df = pairs.df[others, arm]
        level = level_of_each(
            correlation(pairs.variance, arm), common_df(df), alpha, sides=1, shared_variance=shared_variance
        )
        bound = critical(level, df, sides=1) * np.sqrt(pairs.variance[others, arm])
        stays.append(bool((pairs.difference[others, arm] <= bound).all()))
    return tuple(stays)


def chances(pairs: Pairs) -> tuple[Array, Array]:
    """Probability of each arm to be the best, and the expected loss.

    That is the mean loss if it is chosen and another arm is better.

    From draws of the means given the data with flat priors, which are a multivariate t (Box & Tiao 1973, "Bayesian
    Inference in Statistical Analysis", 2.7); the expected loss is that of Chick & Inoue 2001, Operations Research 49.
    """
    arms = len(pairs.difference)
    others = np.arange(1, arms)
    own = np.sqrt(pairs.variance[others, 0])
    t = draw_t(correlation(pairs.variance, 0), common_df(pairs.df[others, 0]))
    draws = np.hstack([np.zeros((DRAWS, 1)), pairs.difference[others, 0] + own * t])
    best = np.bincount(draws.argmax(1), minlength=arms) / DRAWS
    return best, (draws.max(1, keepdims=True) - draws).mean(0)
