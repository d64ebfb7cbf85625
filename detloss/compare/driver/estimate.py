"""The cost of a comparison: time from timed steps, and disk space."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from detloss.compare.driver.states import SETTLED, state_of
from detloss.compare.plan import Plan
from detloss.training.data.dataset import collate
from detloss.training.data.sources import open_datasets
from detloss.training.loss_weights import Batch, model_on

Item = TypeVar("Item")

STEPS = 20
"""Steps that are timed."""
_WARM_UP = 2
"""Steps that are not counted: the first ones of a process take longer."""
_START = 10.0
"""Seconds until a process has imported everything and opened the data; a guess for a quiet machine."""
_COPIES = {"adamw": 4, "sgd": 3}
"""Copies of the weights in a run's checkpoints: two, and what the optimizer keeps of each weight in one of them."""


@dataclass(frozen=True)
class Estimate:
    """What the runs that are left will take."""

    runs: int
    """That are left to do."""
    seconds: float
    """Until all are done, with as many jobs at once as the plan has; on a cluster without a limit, all at once."""
    seconds_a_run: float
    seconds_a_step: float
    disk_bytes: int
    """Of the checkpoints; they may be deleted when the comparison is done."""
    images: int
    """That the runs are judged on."""


def estimate(plan: Plan) -> Estimate:
    """Time some steps and a part of an evaluation, and add up.

    The first arm is timed, alone on this machine.

    Raises:
        DataError: the data cannot be read.
    """
    config = plan.arms[0].config
    before = torch.get_num_threads()
    torch.set_num_threads(config.train.threads or before)
    try:
        data = open_datasets(config)
        size = config.train.batch_size
        model, batches = model_on(config, data["train"], STEPS + _WARM_UP)
        device = next(model.parameters()).device
        a_step = _timed(batches, lambda batch: _step(model, batch)) * config.train.accumulate
        model.eval()
        val = data["val"]
        parts = [range(start, min(start + size, len(val))) for start in range(0, len(val), size)][: STEPS + _WARM_UP]
        images = ([image.to(device) for image in collate([val[i] for i in part])[0]] for part in parts)
        with torch.inference_mode():
            an_image = _timed(images, model) / min(size, len(val))
    finally:
        torch.set_num_threads(before)
    fit = config.train
    steps = fit.epochs * math.ceil(len(data["train"]) / (size * fit.accumulate))
    seen = math.ceil(fit.epochs / fit.validate_every) * len(val) + len(data.get("test", ()))
    a_run = _START + steps * a_step + seen * an_image
    left = sum(state_of(run, plan.split) not in SETTLED for run in plan.runs)
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    return Estimate(
        runs=left,
        seconds=a_run * math.ceil(left / (plan.jobs or max(1, left))),
        seconds_a_run=a_run,
        seconds_a_step=a_step,
        disk_bytes=left * weights * _COPIES[fit.optimizer],
        images=len(data[plan.split]),
    )


def _step(model: nn.Module, batch: Batch) -> None:
    losses = model(*batch)
    model.zero_grad()
    sum(losses.values()).backward()


def _timed(items: Iterable[Item], do: Callable[[Item], object]) -> float:
    """Seconds per item of `do`, without the first few.

    The time to make an item is included.
    """
    times = [time.perf_counter()]
    for item in items:
        do(item)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter())
    first = _WARM_UP if len(times) > _WARM_UP + 1 else 0
    return (times[-1] - times[first]) / max(1, len(times) - 1 - first)
