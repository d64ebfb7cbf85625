"""The guard in whole runs: `detloss train`, stopped and resumed runs, several processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import guarded
import killed
import pytest
import torch
import yaml
from guarded import BAD_STEP, only_unchanged
from runs import STEPS_PER_EPOCH, assert_same_run, config_file
from torch import Tensor

from detloss import BoxRegressionLoss, register
from detloss.training import Interrupted, train
from detloss.training.callbacks import read_metrics

pytestmark = pytest.mark.slow

STEPS = 2 * STEPS_PER_EPOCH
"""Of a run of two epochs with a batch a step."""


class StumblingLoss(BoxRegressionLoss):
    """L1 with a running mean: NaN in some steps of a run, and Ctrl-C in others."""

    bad: ClassVar[set[int]] = set()
    """Steps, counted from 1, whose values are NaN."""
    stops: ClassVar[set[int]] = set()
    """Steps in which this process gets a SIGINT."""
    steps: ClassVar[int] = STEPS

    def __init__(self, config: Any = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("progress", torch.tensor(0.0))
        self.register_buffer("mean", torch.tensor(1.0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = (pred - target).abs().sum(dim=1)
        if not self.training:
            return values
        step = 1 + round(float(self.progress) * self.steps)
        if step in self.stops:
            # Once: a second one would end the run without a checkpoint.
            self.stops.remove(step)
            os.kill(os.getpid(), signal.SIGINT)
        if step in self.bad:
            values = values * torch.nan
        self.mean.lerp_(values.detach().mean(), 0.1)
        return values / (1 + self.mean)


def skips(folder: Path) -> list[tuple[int, int]]:
    """Step and number so far of each line of a skipped step."""
    lines = read_metrics(folder / "metrics.jsonl")
    return [(line["step"], line["train/skipped"]) for line in lines if "train/skipped" in line]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw", "clip": 1.0},
        {"optimizer": "sgd", "log_every": 2, "checkpoint_every": 1},
        {"optimizer": "sgd", "momentum": 0.0, "accumulate": 2},
        {"optimizer": "adamw", "precision": "bf16-mixed", "clip": 1.0},
    ],
    ids=["adamw", "sgd", "accumulated", "bf16-mixed"],
)
def test_row_30_a_resumed_run_skips_as_the_uninterrupted_one(tmp_path, monkeypatch, options):
    """Stopped and resumed in, before and after skipped steps, a run ends with the same weights, counts and files."""
    monkeypatch.setattr("detloss.registry._registered", {})
    register(StumblingLoss, "stumbling")
    steps = STEPS // options.get("accumulate", 1)
    # The first step, two in a row, the last of each epoch; and a stop in a bad one, between two, before one, after one.
    bad = {1, 3, 4, 6, 9, 12} if steps == STEPS else {1, 3, 5, 6}
    stops = [1, 3, 5, 6, 10] if steps == STEPS else [1, 2, 3, 4]
    monkeypatch.setattr(StumblingLoss, "steps", steps)
    monkeypatch.setattr(StumblingLoss, "bad", bad)
    file = config_file(tmp_path, losses={"roi_heads": "stumbling"}, train={"guard": "skip", **options})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(file, output=whole, progress="off")
    assert skips(whole) == [(step, number) for number, step in enumerate(sorted(bad), start=1)]
    for number, stop in enumerate(stops):
        monkeypatch.setattr(StumblingLoss, "stops", {stop})
        with pytest.raises(Interrupted):
            train(*([] if number else [file]), **({"resume": parts} if number else {"output": parts}), progress="off")
        assert torch.load(parts / "last.ckpt", weights_only=True)["global_step"] == stop
    train(resume=parts, progress="off")
    assert_same_run(whole, parts)
    assert torch.load(parts / "last.ckpt", weights_only=True)["detloss_guard"]["skipped"] == len(bad)


PLUGIN = """
from torch import Tensor, nan, tensor

from detloss.loss import BoxRegressionLoss


class LateLoss(BoxRegressionLoss):
    "L1 that becomes NaN for the first pair when half of the run is done."

    def __init__(self, config=None, **params):
        super().__init__(config, **params)
        self.register_buffer("progress", tensor(0.0))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = (pred - target).abs().sum(dim=1)
        values[:1] = values[:1] * (self.progress < 0.5).where(self.progress < 0.5, nan)
        return values
"""
SMALL = {
    "model": "fasterrcnn",
    "backbone": "tiny",
    "losses": {"roi_heads": "late"},
    "options": {"min_size": 64, "max_size": 64, "box_batch_size_per_image": 8, "rpn_post_nms_top_n_train": 20},
    "data": {"shapes": {"train": 8, "val": 1, "size": 64}},
    "train": {"epochs": 1, "batch_size": 2, "accelerator": "cpu", "devices": 1, "pictures": 0, "log_every": 1},
}


def test_row_30_detloss_train_stops_with_the_way_on(packages, tmp_path):
    """`detloss train` ends with exit code 1, names plugin, package, head and step, and the way on, which works."""
    packages.add("late-losses", losses={"late": "late:LateLoss"}, modules={"late.py": PLUGIN}, version="1.5")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(SMALL))
    folder, arguments = tmp_path / "a run", ["train", str(tmp_path / "a.yaml"), "--output", str(tmp_path / "a run")]
    done = killed.python("-m", "detloss", *arguments, PYTHONPATH=str(packages.folder))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    # 8 pictures in batches of 2 are 4 steps: before step 3 the fraction 2/4 is done.
    assert "Error: Step 3 (epoch 1/1) became NaN or infinite." in done.stderr
    assert "roi_heads: the loss 'late' of the package late-losses 1.5: 1 of " in done.stderr
    assert "row 0: pred (" in done.stderr
    assert f"detloss train --resume '{folder}' --set train.guard=skip" in done.stderr, "ready for a shell"
    train(resume=folder, overrides=["train.guard=skip"], progress="off")
    skipped = [line["train/skipped"] for line in read_metrics(folder / "metrics.jsonl") if "train/skipped" in line]
    assert skipped == [1, 2]


@pytest.mark.xdist_group("whole")  # the fork server is ready there
def test_row_30_of_several_processes_one_says_why_they_stop(packages, tmp_path):
    """Under DDP `detloss train` ends with one report, which holds what each process found, and no process is left."""
    packages.add("late-losses", losses={"late": "late:LateLoss"}, modules={"late.py": PLUGIN}, version="1.5")
    config = {**SMALL, "train": {**SMALL["train"], "batch_size": 1, "devices": 2, "strategy": "ddp"}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    arguments = ["train", str(tmp_path / "a.yaml"), "--output", str(tmp_path / "run")]
    log = tmp_path / "log.txt"
    ranks = killed.ranks()
    assert killed.finish_together([killed.start(arguments, log, **rank) for rank in ranks]) == [1, 1]
    said = log.read_text()
    assert "Traceback" not in said
    assert said.count("Error:") == said.count("became NaN or infinite") == 1
    assert "Error: Step 3 (epoch 1/1) became NaN or infinite.\n  process 0:\n" in said
    assert "\n  process 1:\n" in said


@pytest.mark.xdist_group("whole")  # the fork server is ready there
def test_row_30_processes_skip_together(tmp_path):
    """Under DDP a fault in one process skips the step in both; their weights stay equal; the report names it.

    The fault is first one of a value, then one of a gradient.
    """
    log = tmp_path / "log.txt"
    ranks = killed.ranks()
    ended = killed.finish_together([killed.call(guarded.train_together, tmp_path, log=log, **rank) for rank in ranks])
    said = log.read_text()
    assert ended == [0, 0], said
    for what in ("value", "gradient"):
        (skips, first), (other_skips, second) = (torch.load(tmp_path / f"{what}-{rank}.pt") for rank in (0, 1))
        assert skips == other_skips == 1
        assert only_unchanged(first) == only_unchanged(second) == [BAD_STEP]
        names = [name for name in first[-1][0] if "running" not in name and "mean" not in name]
        assert all(torch.equal(first[-1][0][name], second[-1][0][name]) for name in names)
    assert said.count(f"Step {BAD_STEP} (epoch 1/1) became NaN or infinite.") == 2
    assert "  process 1:\n" in said
    assert "  process 0:\n" not in said
