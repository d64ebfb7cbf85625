"""What a run's folder survives, and what of a run may be another when it is resumed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from runs import STEPS_PER_EPOCH, assert_same_run, config_file

from detloss.errors import ConfigError, DetlossError
from detloss.training import load_trained, train
from detloss.training.callbacks import read_metrics
from detloss.training.folder import locked, write_whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two epochs."""
    folder = tmp_path_factory.mktemp("whole")
    return train(config_file(folder), output=folder / "run", progress="off").folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def loss_state(folder: Path) -> list[str]:
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    return [name for name in state if ".detloss." in name]


@pytest.mark.slow
def test_a_resumed_run_takes_the_numbers_that_it_is_given(run):
    """Learning rate, schedule, weight decay and momentum of a resumed run are the new ones, from its first step on."""
    changes = ["epochs=3", "lr=1.0e-5", "schedule=constant", "warmup=0.0", "weight_decay=0.5", "momentum=0.5"]
    train(resume=run, overrides=[f"train.{change}" for change in changes], progress="off")
    rates = [line["train/lr"] for line in read_metrics(run / "metrics.jsonl") if "train/lr" in line]
    assert len(rates) == 3 * STEPS_PER_EPOCH
    assert rates[2 * STEPS_PER_EPOCH :] == [1e-5] * STEPS_PER_EPOCH
    decay, rest = torch.load(run / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.5, 0.0)
    assert (decay["lr"], decay["momentum"]) == (1e-5, 0.5)


@pytest.mark.slow
def test_a_resumed_run_takes_another_loss(run):
    """A loss without state gives way to one with a running mean, that to its form without one, and that to none at all.

    The best checkpoint may be older than the change; its weights can still be loaded.
    """
    train(resume=run, overrides=["train.epochs=3", "losses={roi_heads: wiou}"], progress="off")
    assert loss_state(run)
    load_trained(run)
    train(resume=run, overrides=["train.epochs=4", "losses.roi_heads={name: wiou, version: 1}"], progress="off")
    assert not loss_state(run)
    load_trained(run)
    train(resume=run, overrides=["train.epochs=5", "losses={rpn: giou}"], progress="off")
    assert not loss_state(run)
    load_trained(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.optimizer=adamw", "holds the state of another optimizer than adamw"),
        ("backbone=resnet18", "holds the weights of another model: model.backbone.body.bn1.bias is missing"),
    ],
)
def test_a_resumed_run_keeps_model_and_optimizer(run, change, message):
    """Another model or optimizer is refused by name, and nothing of the run is changed by the attempt."""
    before = {file: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(ConfigError, match=message):
        train(resume=run, overrides=[change], progress="off")
    assert {file: file.read_bytes() for file in run.iterdir()} == before


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_the_way_on(whole, tmp_path):
    """A checkpoint that does not fit is an error with its name; resumed with room, the run ends as it would have."""
    folder = tmp_path / "run"
    with (
        largest_file(1_000_000),
        pytest.raises(DetlossError, match=r"last.ckpt cannot be written: File too large") as caught,
    ):
        train(config_file(tmp_path), output=folder, progress="off")
    assert str(caught.value).endswith(f"\n  detloss train --resume {folder}")
    assert not list(folder.glob("*.ckpt*"))
    train(resume=folder, progress="off")
    assert_same_run(whole, folder)


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    """Of a file that does not fit, not even a part remains, and the error names the file itself."""
    file = tmp_path / "a.txt"
    file.write_text("old")
    with largest_file(100), pytest.raises(OSError, match="File too large") as caught:
        write_whole(file, lambda part: part.write_text("new" * 100))
    assert caught.value.filename == str(file)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


HOLD = """
import sys
from pathlib import Path

from torch.utils.data import DataLoader

from detloss.training.folder import locked

with locked(Path(sys.argv[1])):
    batches = iter(DataLoader(range(100), num_workers=2))
    print("locked", *(worker.pid for worker in batches._workers), flush=True)
    input()
"""


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    """A second process is refused while the first lives; SIGKILL ends the lock, even where its workers live on."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        word, *orphans = first.stdout.readline().split()
        assert word == "locked"
        assert len(orphans) == 2
        with pytest.raises(ConfigError, match=f"Another process is training into {folder}"):
            train(config_file(tmp_path), output=folder, progress="off")
        for orphan in orphans:
            os.kill(int(orphan), signal.SIGSTOP)  # else it notices within seconds that its parent is gone
        first.kill()
        first.wait()
        assert [file.name for file in folder.iterdir()] == [".lock"]
        try:
            with locked(folder):
                pass
        finally:
            for orphan in orphans:
                os.kill(int(orphan), signal.SIGKILL)
    assert not list(folder.iterdir())
