"""Runs that are killed: resumed, they end as if nothing had happened, and no file of theirs is ever half written."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import killed
import pytest
import torch
from runs import STEPS_PER_EPOCH, assert_same_run, config_file

pytestmark = pytest.mark.slow

KILLS = 20
BEFORE_WRITING = 3
"""So many of the kills come at any moment since the process began, the others at any moment since it began to write."""
STEPS_BETWEEN_KILLS = 2
"""On average. A checkpoint follows each step: a run that is killed every second step still gets on."""


def command(folder: Path) -> list[str]:
    """What a user would type: resume the run if there is one."""
    if (folder / "config.yaml").exists():
        return ["train", "--resume", str(folder)]
    return ["train", str(folder.parent / "tiny.yaml"), "--output", str(folder)]


def finish(folder: Path) -> None:
    killed.finish(command(folder), folder.parent / "log.txt")


def written(folder: Path) -> float:
    """When the run last wrote its config, with which every process begins."""
    return (folder / "config.yaml").stat().st_mtime if (folder / "config.yaml").exists() else 0.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, float]:
    """The folder of an uninterrupted run with a checkpoint after each step; seconds up to its first file, and after."""
    folder = tmp_path_factory.mktemp("whole")
    config_file(folder, train={"checkpoint_every": 1})
    warm_up = killed.start(["train", "--print-default"], folder / "log.txt")  # imports what every run needs
    warm_up.join()
    begun = time.time()
    finish(folder / "run")
    return folder / "run", written(folder / "run") - begun, time.time() - written(folder / "run")


def test_killed_twenty_times_a_run_ends_as_if_never_killed(whole, tmp_path):
    """Killed at 20 random moments and resumed each time: same weights and metrics, and every file whole at every time.

    A run that ends before its 20th kill is compared, and another one takes the kills that are left.
    """
    reference, start_up, work = whole
    config_file(tmp_path, train={"checkpoint_every": 1})
    moments = random.Random(0)
    longest = 2 * STEPS_BETWEEN_KILLS * work / (2 * STEPS_PER_EPOCH)
    folders = [tmp_path / "run 1"]
    kills = 0
    while kills < KILLS:
        folder, before, begun = folders[-1], written(folders[-1]), time.time()
        process = killed.start(command(folder), tmp_path / "log.txt")
        if kills < BEFORE_WRITING:
            process.join(timeout=moments.uniform(0, start_up))
        else:
            while process.is_alive() and written(folder) == before and time.time() < begun + 60:
                time.sleep(0.005)
            process.join(timeout=moments.uniform(0, longest))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            assert not folder.exists() or killed.broken_files(folder) == []
        else:
            assert process.exitcode == 0, (tmp_path / "log.txt").read_text()
            folders.append(tmp_path / f"run {len(folders) + 1}")
    if folders[-1].exists():
        finish(folders[-1])
    for folder in folders:
        if folder.exists():
            assert killed.broken_files(folder) == []
            assert_same_run(reference, folder)
            assert not list(folder.glob("*.part.*"))


WINDOWS = [
    "os.mkdir run",
    "open config.yaml.part.yaml",  # the folder is there, and nothing in it
    "os.rename config.yaml",  # nothing is in it but what has not got its name yet
    "os.rename provenance.json",
    "open metrics.jsonl",
    "os.rename last.ckpt",  # the very first one: the run starts anew
    18,  # after the second checkpoint
    "os.rename config.yaml",
    "os.rename metrics.jsonl",  # a resumed run goes back to its checkpoint
    19,
    "os.rename curves.png",
    "os.rename predictions.png",
    "open best.ckpt.part.ckpt",  # filled, not yet flushed to the disk
    "os.rename best.ckpt",
    20,
    "open predictions-val.json.part.json",
    "os.rename predictions-val.json",
    "open metrics.json.part.json",
    "os.rename metrics.json",
]
"""Right before which change each process is killed; a number counts the changes since the process began."""


def test_killed_before_any_kind_of_change_a_run_ends_as_if_never_killed(whole, tmp_path):
    """The kill comes before every kind of change that a run makes to its folder, one process after the other."""
    reference, _, _ = whole
    config_file(tmp_path, train={"checkpoint_every": 1})
    folder = tmp_path / "run"
    for window in WINDOWS:
        process = killed.start(command(folder), tmp_path / "log.txt", folder, window)
        process.join(timeout=120)
        assert process.exitcode == -signal.SIGKILL, (window, (tmp_path / "log.txt").read_text())
        assert not folder.exists() or killed.broken_files(folder) == [], window
    finish(folder)
    assert_same_run(reference, folder)
    assert not list(folder.glob("*.part.*"))
    assert killed.broken_files(folder) == []


def test_killed_between_the_last_and_the_best_checkpoint(whole, tmp_path):
    """Killed when last.ckpt of a best epoch is written and best.ckpt is not: that is written first, to the same end."""
    reference, _, _ = whole
    config_file(tmp_path, train={"checkpoint_every": 1})
    folder = tmp_path / "run"
    process = killed.start(command(folder), tmp_path / "log.txt", folder, "os.rename best.ckpt")
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    assert (folder / "last.ckpt").exists()
    assert not (folder / "best.ckpt").exists()
    finish(folder)
    assert_same_run(reference, folder)
    best, again = (torch.load(each / "best.ckpt", weights_only=True)["state_dict"] for each in (reference, folder))
    assert all(torch.equal(value, again[name]) for name, value in best.items())


def test_after_the_end_resuming_changes_nothing(whole, tmp_path):
    """A finished run that is resumed ends at once with the same files."""
    reference, _, _ = whole
    config_file(tmp_path, train={"checkpoint_every": 1})
    finish(tmp_path / "run")
    finish(tmp_path / "run")
    assert_same_run(reference, tmp_path / "run")


@pytest.mark.xdist_group("whole")  # the fork server is ready there
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux says in files which workers there are")
def test_a_killed_run_with_workers_is_resumed_at_once(tmp_path):
    """Workers that outlive a killed run for some seconds do not keep its folder from the process that resumes it."""
    config_file(tmp_path, data={"workers": 1}, train={"checkpoint_every": 1})
    folder = tmp_path / "run"
    process = killed.start(command(folder), tmp_path / "log.txt")
    deadline = time.time() + 120
    while not (folder / "last.ckpt").exists() and time.time() < deadline:
        time.sleep(0.01)
    workers = [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert workers
    process.kill()
    process.join()
    assert any(Path(f"/proc/{worker}").exists() for worker in workers)
    finish(folder)
    assert killed.broken_files(folder) == []
