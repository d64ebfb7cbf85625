"""Whole runs on synthetic images: the folder, interruption, resuming, several processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import STEPS_PER_EPOCH, TINY, assert_same_run, config_file, weights
from torchvision.transforms.v2 import functional

from detloss.errors import ConfigError, DataError
from detloss.training import Interrupted, ShapesDataset, TrainConfig, load_trained, train
from detloss.training.callbacks import MetricsFile, read_metrics
from detloss.training.folder import write_whole
from detloss.training.settings import ShapesConfig


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "detloss", "train", *arguments]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    result = subprocess.run(
        command(str(config_file(folder)), "--output", str(folder / "run")), check=True, capture_output=True, text=True
    )
    assert "validation, best epoch" in result.stdout
    return folder / "run"


@pytest.mark.slow
def test_a_run_leaves_everything_in_its_folder(whole):
    """The folder holds config, metrics, both checkpoints, predictions and their image, and nothing half written."""
    assert {path.name for path in whole.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "metrics.json",
        "best.ckpt",
        "last.ckpt",
        "predictions-val.json",
        "predictions.png",
    }
    lines = read_metrics(whole / "metrics.jsonl")
    steps = [line["step"] for line in lines if "train/loss_box_reg" in line]
    assert steps == list(range(1, 2 * STEPS_PER_EPOCH + 1))
    evaluations = [line for line in lines if "val/AP" in line]
    assert [line["epoch"] for line in evaluations] == [0, 1]
    for line in evaluations:
        parts = [value for name, value in line.items() if re.fullmatch("val/loss_.+", name)]
        assert len(parts) == 4
        assert line["val/loss"] == pytest.approx(sum(parts))
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["last"]["epoch"] == 1
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl"} <= metrics["best"].keys()
    # Two images, each 480 pixels wide, between three margins of 8.
    with Image.open(whole / "predictions.png") as image:
        assert image.width == 2 * 480 + 3 * 8


@pytest.mark.slow
def test_the_resolved_config_is_a_config(whole):
    """config.yaml has every default filled in and the number of classes of the data, and is itself valid."""
    resolved = yaml.safe_load((whole / "config.yaml").read_text())
    assert resolved["num_classes"] == 4
    assert resolved["train"]["schedule"] == "onecycle"
    assert TrainConfig.model_validate_json(json.dumps(resolved)).train.epochs == 2


@pytest.mark.slow
def test_the_trained_detector_can_be_loaded(whole):
    """`load_trained` gives the detector with the checkpoint's weights, ready to detect."""
    model = load_trained(whole, "last")
    saved = weights(whole)
    assert all(torch.equal(value, saved[f"model.{key}"]) for key, value in model.state_dict().items())
    assert not model.training
    with torch.inference_mode():
        assert model([torch.rand(3, 64, 64)])[0].keys() == {"boxes", "labels", "scores"}


@pytest.mark.slow
@pytest.mark.parametrize(("line", "workers"), [(2, 0), (STEPS_PER_EPOCH + 3, 0), (STEPS_PER_EPOCH + 3, 2)])
def test_ctrl_c_and_resume_give_the_uninterrupted_run(whole, tmp_path, line, workers):
    """A SIGINT to the process group in either epoch leaves a checkpoint; resumed, every file ends the same.

    The number of loading processes makes no difference, to the data or to how Ctrl-C is met.
    """
    folder = tmp_path / "a run"
    arguments = [str(config_file(tmp_path)), "--output", str(folder), "--set", f"data.workers={workers}"]
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(read_metrics(folder / "metrics.jsonl")) < line and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, notes = process.communicate(timeout=120)
    assert process.returncode == 130, notes
    assert f"detloss train --resume '{folder}'" in notes, "ready for a shell"
    assert len(read_metrics(folder / "metrics.jsonl")) < 2 * STEPS_PER_EPOCH + 2
    subprocess.run(command("--resume", str(folder), "--set", "data.workers=0"), check=True, capture_output=True)
    assert_same_run(whole, folder)


@pytest.mark.slow
def test_sigkill_and_resume_give_the_uninterrupted_run(whole, tmp_path):
    """Killed after the first epoch, a run resumes from that epoch's end and ends the same; lines it had are redone."""
    folder = tmp_path / "run"
    process = subprocess.Popen(command(str(config_file(tmp_path)), "--output", str(folder)))
    deadline = time.monotonic() + 120
    while len(read_metrics(folder / "metrics.jsonl")) < STEPS_PER_EPOCH + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait(timeout=60)
    subprocess.run(command("--resume", str(folder)), check=True, capture_output=True)
    assert_same_run(whole, folder)


@pytest.mark.slow
def test_two_processes_evaluate_all_pictures(tmp_path):
    """Under DDP over gloo every validation picture is evaluated once, and only one process prints."""
    folder = tmp_path / "run"
    result = subprocess.run(
        command(
            str(config_file(tmp_path, train={"devices": 2, "strategy": "ddp", "epochs": 1})), "--output", str(folder)
        ),
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout.count("validation, best epoch") == 1
    # 12 pictures in batches of 2 on 2 processes: 3 steps.
    assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 3]
    predictions = json.loads((folder / "predictions-val.json").read_text())
    assert {entry["image_id"] for entry in predictions} <= {1, 2, 3}
    # Five detections at most are kept of each picture: one counted twice would have more.
    assert len(predictions) <= 3 * TINY["options"]["box_detections_per_img"]


@pytest.mark.slow
def test_a_run_on_coco_files(tmp_path):
    """Files with string ids train, test data are evaluated at the end, results have the file's own ids."""
    shapes = ShapesDataset(ShapesConfig(train=6, size=64, max_objects=2))
    for index, record in enumerate(shapes.coco["images"]):
        functional.to_pil_image(shapes.image(index)).save(tmp_path / record["file_name"])
    content = {
        "info": {"year": "2024"},
        "images": [{**image, "id": f"i{image['id']}"} for image in shapes.coco["images"]],
        "categories": [{**category, "id": 10 * category["id"]} for category in shapes.coco["categories"]],
        "annotations": [
            {**entry, "image_id": f"i{entry['image_id']}", "category_id": 10 * entry["category_id"]}
            for entry in shapes.coco["annotations"]
        ]
        + [{"id": 99, "image_id": "i1", "category_id": 10, "bbox": [1, 1, 0, 0]}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    split = {"images": ".", "annotations": "all.json"}
    file = config_file(tmp_path, train={"epochs": 1, "loggers": ["csv"]})
    data = {"train": split, "val": split, "test": split, "augment": {"scale_jitter": [0.7, 1.4]}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "data": data}))
    folder = tmp_path / "run"
    subprocess.run(command(str(file), "--output", str(folder)), check=True, capture_output=True)
    metrics = json.loads((folder / "metrics.json").read_text())
    # One epoch, the same pictures: the best weights are the last ones.
    assert metrics["best"] == metrics["last"]
    losses = {name: value for name, value in metrics["best"].items() if name.startswith("loss")}
    assert {"epoch": 0, **metrics["test"], **losses} == metrics["best"]
    assert "annotation 99" in (folder / "skipped.txt").read_text()
    assert (folder / "csv" / "metrics.csv").exists()
    predictions, of_test = (json.loads((folder / f"predictions-{split}.json").read_text()) for split in ("val", "test"))
    assert {entry["image_id"] for entry in predictions} <= {f"i{number}" for number in range(1, 7)}
    assert {entry["category_id"] for entry in predictions} <= {10, 20, 30}
    # The same images and the same weights, of both of which the metrics tell.
    assert predictions == of_test != []
    assert metrics["checkpoint"] == {
        "best": "best.ckpt",
        "last": "last.ckpt",
        "predictions-val.json": "last.ckpt",
        "test": "best.ckpt",
        "predictions-test.json": "best.ckpt",
    }
    assert metrics["sha256"].keys() == {"best.ckpt", "last.ckpt"}


def coco_data(folder: Path, categories: list[dict[str, Any]]) -> dict[str, Any]:
    """A data section with one picture."""
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": categories[0]["id"], "bbox": [1, 1, 9, 9]}],
        "categories": categories,
    }
    (folder / f"{len(categories)}.json").write_text(json.dumps(content))
    return {"images": ".", "annotations": f"{len(categories)}.json"}


def test_a_wrong_number_of_classes_is_refused(tmp_path):
    """`num_classes` that does not fit the data is an error that names both numbers and the categories."""
    split = coco_data(tmp_path, [{"id": 1, "name": "cell"}])
    file = config_file(tmp_path)
    text = {**yaml.safe_load(file.read_text()), "data": {"train": split, "val": split}, "num_classes": 3}
    file.write_text(yaml.safe_dump(text))
    with pytest.raises(ConfigError, match=r"num_classes is 3, but .* 1 categories \(cell\).* makes 2"):
        train(file, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    """A relative path in a config file is taken from its folder, one set beside it from the current folder."""
    (tmp_path / "configs").mkdir()
    split = coco_data(tmp_path / "configs", [{"id": 1, "name": "cell"}])
    file = config_file(tmp_path / "configs")
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "data": {"train": split, "val": split}}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"{tmp_path}/other\.json does not exist"):
        train(file, output="run", overrides=["data.val.annotations=other.json"])


def test_splits_must_agree_on_categories(tmp_path):
    """Validation data with other categories than the training data is refused."""
    data = {
        "train": coco_data(tmp_path, [{"id": 1, "name": "cell"}]),
        "val": coco_data(tmp_path, [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}]),
    }
    file = config_file(tmp_path)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "data": data}))
    with pytest.raises(DataError, match="has the categories cell, nucleus, the training data cell"):
        train(file, output=tmp_path / "run")


def test_a_used_folder_is_not_overwritten(tmp_path):
    """An output folder with something in it is refused."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        train(config_file(tmp_path), output=tmp_path / "run")


def test_an_output_that_cannot_be_a_folder_is_a_named_error(tmp_path):
    """A file in the place of the output folder, or of the folder around it, is refused before anything is trained."""
    file = config_file(tmp_path)
    with pytest.raises(ConfigError, match=r"is a file\. Choose another output folder"):
        train(file, output=file)
    with pytest.raises(ConfigError, match=r"cannot be written: Not a directory\. Choose another output folder"):
        train(file, output=file / "run")


def test_resuming_needs_a_run(tmp_path):
    """A folder that is no run cannot be resumed, and a resumed run takes no other config."""
    with pytest.raises(ConfigError, match=r"holds no config\.yaml"):
        train(resume=tmp_path)
    with pytest.raises(ConfigError, match="there is no such folder"):
        train(resume=tmp_path / "runs")
    with pytest.raises(ConfigError, match="without config and output"):
        train(config_file(tmp_path), resume=tmp_path)


def test_what_lightning_refuses_is_a_config_error(tmp_path):
    """A strategy that Lightning does not know is an error of the config, with Lightning's reason."""
    with pytest.raises(ConfigError, match=r"Lightning refuses the section `train`: .*teleport"):
        train(config_file(tmp_path, train={"strategy": "teleport"}), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_signals_are_given_back(tmp_path):
    """After a run in one's own process, interrupted or not, Ctrl-C is Python's again."""
    before = signal.getsignal(signal.SIGINT)

    class Impatient(threading.Thread):
        def run(self) -> None:
            while not read_metrics(tmp_path / "run" / "metrics.jsonl"):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

    Impatient(daemon=True).start()
    with pytest.raises(Interrupted) as caught:
        train(config_file(tmp_path), output=tmp_path / "run", progress="off")
    assert caught.value.folder == tmp_path / "run"
    assert signal.getsignal(signal.SIGINT) is before
    train(resume=tmp_path / "run", progress="off")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    """When writing fails halfway the old file is as it was."""
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("ne")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the very error that was raised
        write_whole(file, fail)
    assert file.read_text() == "old"


def test_a_half_written_last_line_is_ignored(tmp_path):
    """Metrics of a run that was killed while writing are read up to the last whole line."""
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"epoch": 0, "step": 1}\n{"epoch": 0, "st')
    assert read_metrics(file) == [{"epoch": 0, "step": 1}]
    assert MetricsFile(file, every=1).path == file
