"""The race: which arms need no further seed."""

from __future__ import annotations

import numpy as np

from detloss.compare.statistics.blocks import Array, fit_blocks
from detloss.compare.statistics.pairs import critical, training_pairs


def droppable(y: Array, reference: int = 0, alpha: float = 0.05) -> tuple[int, ...]:
    """Columns whose upper bound for the difference to the leader lies below zero.

    A one-sided bound with the pooled variance, for each arm by itself, on these images. It saves time and proves
    nothing: docs/compare-statistics.md has how often it drops the best.

    Arguments:
        y: `(seeds, arms)` after at least 2 seeds; NaN where a run failed or the arm was dropped before.
        reference: Column that is never dropped.
        alpha: Error probability of one bound.
    """
    runs = np.isfinite(y).sum(0)
    racing = np.flatnonzero(runs >= 2)
    if len(racing) < 2:
        return ()
    model = fit_blocks(y[:, racing][np.isfinite(y[:, racing]).any(1)])
    pairs = training_pairs(model)
    leader = int(model.means.argmax())
    bound = pairs.difference[:, leader] + critical(alpha, model.df, sides=1) * np.sqrt(pairs.variance[:, leader])
    return tuple(int(arm) for arm in racing[bound < 0] if arm != reference and np.isfinite(y[-1, arm]))
