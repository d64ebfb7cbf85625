"""Damaged run folders: each file lost or broken in each way, and links in the place of files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from runs import TINY, config_file

from detloss import ConfigError, build_model, load_config
from detloss.training import DetectionModule, TrainConfig, load_trained, train
from detloss.training.folder import check_places, is_whole
from detloss.training.resuming import read_last, read_weights, restore_best

CHECKPOINTS = ("best.ckpt", "last.ckpt")
PLAIN = (
    "config.yaml",
    "provenance.json",
    "metrics.jsonl",
    "metrics.json",
    "predictions-val.json",
    "predictions.png",
    "curves.png",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two epochs, whose best epoch is the first."""
    folder = tmp_path_factory.mktemp("finished")
    # A learning rate that ruins the second epoch cannot make a better one of it: 0 is the AP of both.
    return train(config_file(folder), output=folder / "run", progress="off").folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged: a damaged file is a new one."""
    return Path(shutil.copytree(finished, tmp_path / "run", copy_function=os.link))


@pytest.fixture(scope="module")
def module(finished: Path) -> DetectionModule:
    """What that run trained."""
    config = load_config(finished / "config.yaml", schema=TrainConfig)
    return DetectionModule(build_model(config), config.train)


def contents(folder: Path) -> dict[str, object]:
    """What is in each file; of a large one, which it is."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) if path.suffix == ".ckpt" else path.read_bytes()
        for path in folder.iterdir()
        if path.is_file()
    }


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def save(path: Path, content: Any) -> None:
    path.unlink()
    torch.save(content, path)


def saved(path: Path, **changes: Any) -> None:
    save(path, {**torch.load(path, weights_only=True), **changes})


def place_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def place_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def place_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent.parent / "precious.txt")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: replace(path, b""),
    "truncated": lambda path: replace(path, path.read_bytes()[: path.stat().st_size // 3]),  # within a config's data
    "another type": lambda path: replace(path, b"hello \xff\n"),
}
WRONG: dict[str, Callable[[Path], object]] = {
    "a list": lambda path: save(path, [1, 2]),
    "a state dict": lambda path: save(path, torch.load(path, weights_only=True)["state_dict"]),
    "no tensors": lambda path: saved(path, state_dict={"a": 1}),
    "no step": lambda path: saved(path, global_step="many"),
    "another model": lambda path: saved(path, state_dict={"model.\x1b[2Jx": torch.zeros(2)}),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *WRONG])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_row_41_a_damaged_checkpoint(name, damage, run, module):
    """The error names the file, what is lost and a way on; nothing is overwritten; the other checkpoint is readable."""
    (DAMAGES | WRONG)[damage](run / name)
    before = contents(run)
    readers: list[Callable[[], object]] = [
        lambda: restore_best(run, read_last(run, module) or {}, module),  # as a run that is resumed
        lambda: read_weights(run / name, module),  # as `load_trained`
    ]
    for read in readers:
        with pytest.raises(ConfigError) as caught:
            read()
        message = str(caught.value)
        assert str(run / name) in message
        assert "\x1b" not in message
        if damage != "another model":  # which may be the config's fault: it says what to leave as it was
            assert "Lost with it: the " in message
            assert len(commands(caught.value)) == (2 if name == "best.ckpt" and damage != "missing" else 1)
    assert contents(run) == before
    read_weights(run / ("last.ckpt" if name == "best.ckpt" else "best.ckpt"), module)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer_states": []}, {"loops": {}}, {"loops": {"fit_loop": 3}}, {"callbacks": {}}, {"lr_schedulers": [{}]}],
    ids=str,
)
def test_row_41_a_last_checkpoint_with_wrong_states(changes, run):
    """A checkpoint whose other states than its weights are wrong is named as one, and nothing is overwritten."""
    saved(run / "last.ckpt", **changes)
    before = contents(run)
    with pytest.raises(ConfigError, match=r"last\.ckpt is not a file of a run \(.*Lost with it: the state"):
        train(resume=run, progress="off")
    assert contents(run) == before


def commands(error: ConfigError) -> list[str]:
    return [line.strip() for line in str(error).splitlines()[1:]]


def test_row_41_the_ways_on_lead_on(run, tmp_path):
    """Of a lost last.ckpt: the best weights start a new run. Of a lost best.ckpt: the last weights take its place."""
    (run / "best.ckpt").rename(tmp_path / "kept.ckpt")
    with pytest.raises(ConfigError) as caught:
        train(resume=run, progress="off")
    assert commands(caught.value) == [f"cp {run}/last.ckpt {run}/best.ckpt"]
    shutil.copy(run / "last.ckpt", run / "best.ckpt")
    assert train(resume=run, progress="off").metrics["last"]["epoch"] == 2
    load_trained(run)
    (run / "last.ckpt").unlink()
    with pytest.raises(ConfigError) as caught:
        train(resume=run, progress="off")
    options = f"--set weights={run}/best.ckpt --set weights_backbone=null"
    assert commands(caught.value) == [f"detloss train {run}/config.yaml --output {run}-2 {options}"]
    build_model(run / "config.yaml", [f"weights={run}/best.ckpt", "weights_backbone=null"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_row_41_best_weights_that_are_the_last_ones_are_written_again(damage, run, module):
    """Where the best epoch is the last one so far, best.ckpt is written again from last.ckpt, whatever became of it."""
    last = torch.load(run / "last.ckpt", weights_only=True)
    last["callbacks"]["Checkpoints"]["best_step"] = last["global_step"]
    save(run / "last.ckpt", last)
    DAMAGES[damage](run / "best.ckpt")
    restore_best(run, read_last(run, module) or {}, module)
    again = torch.load(run / "best.ckpt", weights_only=True)
    assert again["state_dict"].keys() == last["state_dict"].keys()
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in again["state_dict"].items())
    assert "optimizer_states" not in again


def test_row_41_older_best_weights_than_the_last_checkpoint_knows_of(run, module):
    """Killed between the two checkpoints of a best epoch, a resumed run first writes the second."""
    last = torch.load(run / "last.ckpt", weights_only=True)
    last["callbacks"]["Checkpoints"]["best_step"] = last["global_step"]
    restore_best(run, last, module)
    assert torch.load(run / "best.ckpt", weights_only=True)["global_step"] == last["global_step"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_row_41_a_damaged_config(damage, run):
    """Without a config nothing is trained or overwritten, and the error names the file."""
    DAMAGES[damage](run / "config.yaml")
    before = contents(run)
    for attempt in (lambda: train(resume=run, progress="off"), lambda: load_trained(run)):
        with pytest.raises(ConfigError, match=r"config\.yaml|data: is missing"):
            attempt()
    assert contents(run) == before


def test_row_41_metrics_that_are_none(run):
    """A metrics file that holds something else is named with its line, and with what happens when it is moved away."""
    replace(run / "metrics.jsonl", (run / "metrics.jsonl").read_bytes() + b"hello\n")
    before = contents(run)
    with pytest.raises(ConfigError, match=r"metrics\.jsonl:15: .* Fix: move the file"):  # 2 x (6 steps, 1 evaluation)
        train(resume=run, progress="off")
    assert contents(run) == before


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_row_41_what_can_be_derived_is_written_again(damage, run, finished):
    """Of a finished run all files but config and checkpoints are written again; its weights are readable meanwhile.

    The evaluations are in the checkpoint; what was cut off of the training losses is gone, and the log says so.
    """
    names = ["metrics.jsonl", "metrics.json", "predictions-val.json", "predictions.png", "curves.png"]
    for name in names:
        DAMAGES[damage](run / name)
    left = (run / names[0]).read_bytes().count(b"\n") if (run / names[0]).exists() else 0
    load_trained(run)
    assert train(resume=run, progress="off").metrics == json.loads((finished / "metrics.json").read_text())
    lines = (finished / names[0]).read_bytes().splitlines(keepends=True)
    kept = [line for number, line in enumerate(lines) if number < left or b"val/AP" in line]
    assert (run / names[0]).read_bytes() == b"".join(kept)
    assert is_whole(run / "curves.png")  # of what is left of the losses
    for name in names[1:-1]:
        assert (run / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["predictions-val.json", "predictions.png", "curves.png"])
def test_row_41_predictions_that_are_not_whole(name, damage, run):
    """Whether predictions or curves are to be written again is seen from their end."""
    assert is_whole(run / name)
    DAMAGES[damage](run / name)
    assert not is_whole(run / name)


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A file outside of the run's folder; it must be there afterwards as it was."""
    file = tmp_path / "precious.txt"
    file.write_text("precious")
    yield file
    assert file.read_text() == "precious"


@pytest.mark.parametrize("place", [place_folder, place_fifo, place_link])
@pytest.mark.parametrize("name", [*PLAIN, *CHECKPOINTS, "skipped.txt", ".lock", "last.ckpt.part.ckpt"])
def test_row_41_no_file_in_the_place_of_one(name, place, run, precious):
    """A folder, a pipe or a link in the place of a file is refused by name, at once, and nothing is overwritten."""
    place(run / name)
    before = contents(run)
    with pytest.raises(ConfigError, match=f"{name} (is|cannot)"):
        train(resume=run, progress="off")
    assert contents(run) == before


@pytest.mark.parametrize("name", ["csv", "tensorboard", "mlflow", "wandb", "csv/metrics.csv", "wandb/run/a"])
def test_row_40_a_link_in_the_place_of_a_loggers_folder_or_file(name, run, tmp_path, tmp_path_factory, precious):
    """A link in the place of a logger's folder, or in such a folder, is refused by name."""
    link = run / name
    link.parent.mkdir(exist_ok=True, parents=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    link.symlink_to(elsewhere if "/" not in name else precious)
    with pytest.raises(ConfigError, match=f"{name} is a link"):
        train(resume=run, progress="off")
    assert not list(elsewhere.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"run", "precious.txt"}


def test_row_40_a_link_in_a_new_folder(tmp_path, precious):
    """A new run is not begun in a folder with a link in the place of its lock, by name or by inode."""
    for link in (Path.symlink_to, Path.hardlink_to):
        (tmp_path / "run").mkdir()
        link(tmp_path / "run" / ".lock", precious)
        with pytest.raises(ConfigError, match=r"\.lock is a link"):
            train(config_file(tmp_path), output=tmp_path / "run", progress="off")
        shutil.rmtree(tmp_path / "run")


def test_row_40_a_link_of_ones_own(tmp_path):
    """Links that no run writes to are let be: of the user's own, and wandb's to its latest run."""
    (tmp_path / "wandb" / "run-1").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").symlink_to("run-1")
    (tmp_path / "notes").symlink_to("/etc")
    check_places(tmp_path)


def test_row_41_a_run_that_lost_everything_but_its_metrics_is_not_begun_anew(run):
    """Where both checkpoints are gone, a run whose later files say that it had some is not overwritten."""
    for name in CHECKPOINTS:
        (run / name).unlink()
    for name in ("metrics.json", "metrics.jsonl"):
        before = contents(run)
        with pytest.raises(ConfigError, match=rf"last\.ckpt is missing, although {name} was written after it"):
            train(resume=run, progress="off")
        assert contents(run) == before
        (run / name).unlink()


def test_the_tiny_run_is_a_run(finished):
    """The run that these tests damage has the files that they damage."""
    assert set(contents(finished)) == {*PLAIN, *CHECKPOINTS}
    assert yaml.safe_load((finished / "config.yaml").read_text())["model"] == TINY["model"]
