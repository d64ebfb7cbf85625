"""The race: which arms need no further seed."""

from __future__ import annotations

import numpy as np

from detloss.compare.statistics.blocks import Array, fit_blocks
from detloss.compare.statistics.pairs import critical, training_pairs


def droppable(y: Array, reference: int = 0, alpha: float = 0.1) -> tuple[int, ...]:
    """Columns whose upper bound for the difference is below zero.

    The difference is that to the leader.

    A one-sided bound with the pooled variance on these images, Bonferroni over the arms: one call drops the best arm,
    even if it is the best by nothing, with probability `alpha` at most. docs/compare-statistics.md has how often.

    Arguments:
        y: `(seeds, arms)` after at least 2 seeds; NaN where a run failed or the arm was dropped before.
        reference: Column that is never dropped.
        alpha: Error probability, all arms together.
    """
    racing = np.flatnonzero(np.isfinite(y).sum(0) >= 2)
    if len(racing) < 2:
        return ()
    model = fit_blocks(y[:, racing])
    pairs = training_pairs(model)
    leader = int(model.means.argmax())
    bound = critical(alpha / (len(racing) - 1), model.df, sides=1) * np.sqrt(pairs.variance[:, leader])
    behind = racing[pairs.difference[:, leader] + bound < 0]
    return tuple(int(arm) for arm in behind if arm != reference and np.isfinite(y[-1, arm]))
