"""`detloss convert`: what it prints, and that its config can be trained with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from detloss.training.data.sources import open_datasets, read_config

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A YOLO data set with an image in each of two splits, and a row that cannot be used."""
    folder = tmp_path / "my set"
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        Image.new("RGB", (100, 80)).save(folder / "images" / split / "a.jpg")
        (folder / "labels" / split / "a.txt").write_text("0 .5 .5 .2 .4\n1 .5 .5 .2 .4\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [dog]\n")
    return folder


def test_what_was_written_is_counted_and_can_be_trained_on(run_detloss: Run, source: Path, tmp_path: Path) -> None:
    """Counts, what is skipped with its reason, the files, and a command with a config whose data load."""
    code, out, err = run_detloss("convert", str(source), str(tmp_path / "out"))
    assert (code, err) == (0, "")
    assert "Read as YOLO" in out
    assert [line.split() for line in out.splitlines() if "dog" in line] == [["dog", "1", "1"]]
    assert "2 x its class is not among the 1 names; the first: " in out
    assert "labels/train/a.txt: line 2" in out
    assert f"  detloss train {tmp_path}/out/config.yaml" in out
    datasets = open_datasets(read_config(tmp_path / "out" / "config.yaml"))
    assert datasets["val"][0][1]["boxes"].tolist() == [[40, 24, 60, 56]]
    with Image.open(tmp_path / "out" / "boxes.png") as drawn:
        assert drawn.width > 2 * 480


def test_the_result_as_json(run_detloss: Run, source: Path, tmp_path: Path) -> None:
    """With `--json` stdout holds one object: files, counts, what is skipped."""
    code, out, _ = run_detloss("convert", str(source), str(tmp_path / "out"), "--format", "yolo", "--json")
    printed = json.loads(out)
    assert code == 0
    assert printed["splits"]["train"]["classes"] == {"dog": 1}
    assert Path(printed["splits"]["val"]["annotations"]).is_file()
    assert [each["reason"] for each in printed["skipped"]] == ["its class is not among the 1 names"] * 2


def test_an_error_is_one_sentence(run_detloss: Run, source: Path, tmp_path: Path) -> None:
    """Read as another format, a data set is an error that says what was looked for, and nothing is written."""
    code, out, err = run_detloss("convert", str(source), str(tmp_path / "out"), "--format", "voc")
    assert (code, out) == (1, "")
    assert "has no XML file of Pascal VOC. Fix: give the folder that holds `Annotations`" in err
    assert not (tmp_path / "out").exists()
