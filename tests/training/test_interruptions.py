"""What ends a run from outside of its own code: workers that fail or are killed, signals, paths that are none."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed
import pytest
from runs import TINY, config_file
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from detloss import ConfigError, DataError
from detloss.training import train
from detloss.training.data.datamodule import loading_failure
from detloss.training.data.synthetic import ShapesDataset
from detloss.training.settings import ShapesConfig


@pytest.fixture
def coco_run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A config of a run on COCO files: the images of the embedded shapes, written as PNG."""
    shapes = ShapesDataset(ShapesConfig(train=4, val=1, size=64, max_objects=2), "train")
    for index, record in enumerate(shapes.coco["images"]):
        functional.to_pil_image(shapes.image(index)).save(tmp_path / record["file_name"])
    (tmp_path / "all.json").write_text(json.dumps(shapes.coco))
    split = {"images": str(tmp_path), "annotations": str(tmp_path / "all.json")}

    def config(workers: int) -> dict[str, Any]:
        return {
            **TINY,
            "data": {"train": split, "val": split, "workers": workers},
            "train": {**TINY["train"], "epochs": 1},
        }

    return config


@pytest.mark.parametrize("workers", [0, 1])
def test_row_45_a_truncated_image(coco_run: Callable[..., dict[str, Any]], tmp_path: Path, workers: int) -> None:
    """An image that cannot be read ends a run with one line and the way to resume, in or outside of a worker."""
    file = tmp_path / "00002.png"
    file.write_bytes(file.read_bytes()[:80])
    with pytest.raises(DataError) as caught:
        train(coco_run(workers), output=tmp_path / "run", progress="off")
    line, then, command = str(caught.value).splitlines()
    assert line.startswith(f"The image {file} cannot be read: ")
    assert then == "Then resume from the start (there is no checkpoint yet):"
    assert command == f"  detloss train --resume {tmp_path / 'run'}"


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise KeyError("here\nand there")


def run_out_of_memory() -> None:
    raise MemoryError


class Failing(Dataset[Any]):
    """A data set of which no image can be loaded."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        self.end()


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (be_killed, r"A process that loads images ended: DataLoader worker \(pid.*`data\.workers` to fewer, or to 0\."),
        (run_out_of_memory, r"Loading an image raised MemoryError\."),
        (fail, r"Loading an image raised KeyError: 'here\\nand there'\."),
    ],
)
def test_row_45_a_worker_that_fails(end: Callable[[], None], message: str) -> None:
    """What torch says of a worker that is killed, or raises anything, becomes one line."""
    with pytest.raises((RuntimeError, KeyError, MemoryError)) as caught:
        next(iter(DataLoader(Failing(end), num_workers=1)))
    assert re.fullmatch(message, loading_failure(caught.value) or "")
    assert loading_failure(RuntimeError("CUDA out of memory")) is None


@pytest.mark.xdist_group("whole")  # the fork server is ready there
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
def test_row_45_the_end_of_the_terminal(tmp_path: Path) -> None:
    """SIGHUP stops a run with a checkpoint, as SIGTERM does, although its workers get the signal too."""
    folder = tmp_path / "run"
    file = config_file(tmp_path, train={"epochs": 200}, data={"workers": 1})
    process = killed.start(["train", str(file), "--output", str(folder)], tmp_path / "log.txt")
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGHUP)
    process.join(timeout=120)
    said = (tmp_path / "log.txt").read_text()
    assert process.exitcode == 130, said
    assert said.splitlines()[-1] == f"Interrupted. Continue with: detloss train --resume {folder}"
    assert (folder / "last.ckpt").is_file()


@pytest.mark.parametrize("argument", ["output", "resume"])
def test_row_45_nul(argument: str) -> None:
    """A NUL in the path of a run is a config error."""
    with pytest.raises(ConfigError, match=r"The path '.*\\x00b' holds a NUL"):
        train(**{argument: "a\0b"}, progress="off")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="holds a NUL"):
        train(overrides=["data.train.images=a\0b"], progress="off")
