"""The race: which arms get no more seeds.

It is decided once and noted in their folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from detloss.compare.driver.states import DROPPED, SETTLED, State, dropped_after, final_ap
from detloss.compare.plan import Plan, Run
from detloss.compare.plan.arms import Arm
from detloss.compare.statistics import droppable
from detloss.training.folder import write_text

RACE_AFTER = 2
"""Seeds after which an arm may be dropped; a single look is what the error of dropping the best is known for."""


def drop(plan: Plan, states: Mapping[Run, State]) -> frozenset[Arm] | None:
    """The arms that get only the first seeds; None while undecided.

    It follows only from the folders: decisions are noted there, and an arm that has started a later seed continues.
    """
    first, later = plan.config.all_seeds[:RACE_AFTER], plan.config.all_seeds[RACE_AFTER:]
    if not (plan.config.race and later):
        return frozenset()
    if any(states[run] not in SETTLED for run in plan.runs if run.seed in first):
        return None
    noted = {arm for arm in plan.arms if dropped_after(plan.place_of(arm)) is not None}
    begun = {run.arm for run in plan.runs if run.seed in later and (run.folder / "config.yaml").exists()}
    found = {(run.seed, run.arm): final_ap(run, plan.split) for run in plan.runs if run.seed in first}
    values = np.array([[found[seed, arm] for arm in plan.arms] for seed in first])
    behind = {plan.arms[index] for index in droppable(values, plan.arms.index(plan.reference))}
    for arm in behind - noted - begun:
        write_text(plan.place_of(arm) / DROPPED, json.dumps({"after": len(first)}) + "\n")
    return frozenset(noted | (behind - begun))
