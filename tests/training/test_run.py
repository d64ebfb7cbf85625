"""Whole runs on synthetic images: the folder, interruption, resuming, several processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import killed
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import STEPS_PER_EPOCH, TINY, assert_same_run, coco_files, config_file
from terminal import in_terminal

from detloss.errors import ConfigError, DataError
from detloss.training import Interrupted, TrainConfig, train
from detloss.training.callbacks import MetricsFile, read_metrics
from detloss.training.folder import FILES, write_whole

LOSSES = ("train/loss_classifier", "train/loss_box_reg", "train/loss_objectness", "train/loss_rpn_box_reg")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run; what it printed is beside it."""
    folder = tmp_path_factory.mktemp("whole")
    config = str(config_file(folder))
    result = killed.python("-W", "error", "-m", "detloss", "train", config, "--output", str(folder / "run"))
    assert result.returncode == 0, result.stderr
    (folder / "stdout").write_text(result.stdout)
    (folder / "stderr").write_text(result.stderr)
    return folder / "run"


@pytest.mark.slow
def test_a_run_leaves_everything_in_its_folder(whole):
    """The folder holds what `FILES` names, and nothing half written; all of it is printed, with a word on each."""
    printed = (whole.parent / "stdout").read_text()
    assert "validation, best epoch" in printed
    assert printed.endswith(f"\n  detloss predict {whole} IMAGE...\n")
    for path in whole.iterdir():
        assert f"  {path.name:<22} {FILES[path.name]}" in printed
    assert {path.name for path in whole.iterdir()} == {
        "config.yaml",
        "provenance.json",
        "metrics.jsonl",
        "metrics.json",
        "best.ckpt",
        "last.ckpt",
        "curves.png",
        "predictions-val.json",
        "predictions.png",
    }
    lines = read_metrics(whole / "metrics.jsonl")
    steps = [line["step"] for line in lines if "train/loss_box_reg" in line]
    assert steps == list(range(1, 2 * STEPS_PER_EPOCH + 1))
    evaluations = [line for line in lines if "val/AP" in line]
    assert [line["epoch"] for line in evaluations] == [1, 2]
    assert {line["epoch"] for line in lines if line["step"] <= STEPS_PER_EPOCH} == {1}
    for line in evaluations:
        parts = [value for name, value in line.items() if re.fullmatch("val/loss_.+", name)]
        assert len(parts) == 4
        assert line["val/loss"] == pytest.approx(sum(parts))
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["last"]["epoch"] == 2
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl"} <= metrics["best"].keys()
    # Two images, each 480 pixels wide, between three margins of 8.
    with Image.open(whole / "predictions.png") as image:
        assert image.width == 2 * 480 + 3 * 8


@pytest.mark.slow
def test_channels_last_changes_the_layout_and_not_the_losses(whole, tmp_path):
    """The weights of convolutions have their channels innermost, in the checkpoint too; the first losses are equal."""
    changed = config_file(tmp_path, train={"epochs": 1, "channels_last": True})
    run = train(changed, output=tmp_path / "run", progress="off").folder
    weights = torch.load(run / "last.ckpt", weights_only=False)["state_dict"]
    convolutions = [weight for weight in weights.values() if weight.ndim == 4]
    assert convolutions
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)
    first, expected = (read_metrics(folder / "metrics.jsonl")[0] for folder in (run, whole))
    assert [first[name] for name in LOSSES] == pytest.approx([expected[name] for name in LOSSES], rel=1e-4)


@pytest.mark.slow
def test_a_run_says_what_it_does_and_where_it_is(whole):
    """It begins with model, losses, data, device and folder; each step has a line with speed and time left."""
    log = re.sub("^[0-9:]{8} ", "", (whole.parent / "stderr").read_text(), flags=re.MULTILINE)
    begin = log[log.index("The run:\n") :].splitlines()[1:]
    facts = dict(re.split("  +", line.strip(), maxsplit=1) for line in begin if line.startswith("  "))
    assert re.fullmatch(r"fasterrcnn on tiny, (\d\.\d\d M) parameters, \1 trained", facts["model"])
    assert facts["losses"].startswith("roi_heads: 10 * giou(")
    assert re.fullmatch(rf"{2 * STEPS_PER_EPOCH} images, \d+ boxes", facts["train"])
    assert facts["val"].startswith("3 images, ")
    assert facts["classes"].startswith("3: ")
    assert facts["epochs"] == "2, 2 images a step"
    assert re.fullmatch(r"cpu \(\d+ threads\), 32-true", facts["device"])
    assert facts["folder"] == str(whole)
    number = r"\d[\d.e+-]*"
    lines = re.findall(
        rf"^epoch (\d)/2, step (\d+)/12: loss {number}, {number} s/step, {number} images/s, \d+:\d\d left$",
        log,
        re.MULTILINE,
    )
    assert lines == [("12"[step > STEPS_PER_EPOCH], str(step)) for step in range(1, 2 * STEPS_PER_EPOCH + 1)]


@pytest.mark.slow
def test_metrics_have_time_speed_and_memory(whole):
    """Each line has its time, in order, and the peak memory; each line of losses the speed."""
    lines = read_metrics(whole / "metrics.jsonl")
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    # More than torch alone takes, and no more than there is.
    assert all(100 < line["memory_mib"] < 100_000 for line in lines)
    assert all(line["images_per_second"] > 0 for line in lines if "train/loss" in line)


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run, to go on from."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.mark.slow
def test_a_finished_run_says_so(copied, caplog):
    """Resumed by its last.ckpt, a finished run trains nothing, says that it is finished and how to train on."""
    with caplog.at_level("INFO", "detloss"):
        metrics = train(resume=copied / "last.ckpt").metrics
    assert metrics == json.loads((copied / "metrics.json").read_text())
    (said,) = (message for message in caplog.messages if "This run is finished" in message)
    assert said.endswith(f"To train longer:\n  detloss train --resume {copied} --set train.epochs=4")
    assert not [message for message in caplog.messages if re.search(r"step \d", message)]


@pytest.mark.slow
def test_a_terminal_gets_a_bar(copied):
    """On a terminal a bar shows epoch, step, speed and time left, and the evaluation; a resumed run says from where."""
    longer = ["--resume", str(copied / "last.ckpt"), "--set", "train.epochs=3"]
    done = in_terminal("train", *longer, columns=100, at_once=True, NO_COLOR="1")
    assert done.returncode == 0, done.stdout
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)
    assert "Resumed after step 12/18, in epoch 3/3." in shown
    assert re.search(r"epoch 3/3 .* step 13/18, \S+ s/step, \S+ images/s, loss \S+, \d+:\d\d left", shown)
    assert re.search(r"evaluating 1/2 .* step 18/18", shown)
    assert "step 13/18: loss" not in shown, "the bar is in the place of the lines"


def test_best_weights_alone_are_not_resumed(tmp_path):
    """`resume` with a best.ckpt says what it is, and gives the two commands that go on."""
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(ConfigError) as caught:
        train(resume=tmp_path / "best.ckpt")
    lines = str(caught.value).splitlines()
    assert lines[1] == f"  detloss train --resume {tmp_path}"
    assert lines[3].startswith(f"  detloss train {tmp_path}/config.yaml --output {tmp_path}-2 --set weights=")


def test_progress_is_a_word_or_a_function(tmp_path):
    """Anything else than `lines`, `off` or a function is refused before anything is written."""
    with pytest.raises(ConfigError, match="progress is 'bar'"):
        train(config_file(tmp_path), output=tmp_path / "run", progress="bar")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_resolved_config_is_a_config(whole):
    """config.yaml has every default filled in and the number of classes of the data, and is itself valid."""
    resolved = yaml.safe_load((whole / "config.yaml").read_text())
    assert resolved["num_classes"] == 4
    assert resolved["train"]["schedule"] == "onecycle"
    assert TrainConfig.model_validate_json(json.dumps(resolved)).train.epochs == 2


@pytest.mark.slow
@pytest.mark.parametrize(("line", "workers"), [(2, 0), (STEPS_PER_EPOCH + 3, 0), (STEPS_PER_EPOCH + 3, 2)])
def test_ctrl_c_and_resume_give_the_uninterrupted_run(whole, tmp_path, line, workers):
    """A SIGINT to the process group in either epoch leaves a checkpoint; resumed, every file ends the same.

    The number of loading processes makes no difference, to the data or to how Ctrl-C is met.
    """
    folder = tmp_path / "a run"
    arguments = [str(config_file(tmp_path)), "--output", str(folder), "--set", f"data.workers={workers}"]
    process = killed.start(["train", *arguments], tmp_path / "log.txt")
    deadline = time.monotonic() + 120
    while len(read_metrics(folder / "metrics.jsonl")) < line and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    process.join(timeout=120)
    notes = (tmp_path / "log.txt").read_text()
    assert process.exitcode == 130, notes
    assert f"detloss train --resume '{folder}'" in notes, "ready for a shell"
    assert len(read_metrics(folder / "metrics.jsonl")) < 2 * STEPS_PER_EPOCH + 2
    killed.finish(["train", "--resume", str(folder), "--set", "data.workers=0"], tmp_path / "log.txt")
    assert_same_run(whole, folder)


@pytest.mark.slow
def test_sigkill_and_resume_give_the_uninterrupted_run(whole, tmp_path):
    """Killed after the first epoch, a run resumes from that epoch's end and ends the same; lines it had are redone."""
    folder = tmp_path / "run"
    process = killed.start(["train", str(config_file(tmp_path)), "--output", str(folder)], tmp_path / "log.txt")
    deadline = time.monotonic() + 120
    while len(read_metrics(folder / "metrics.jsonl")) < STEPS_PER_EPOCH + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join(timeout=60)
    killed.finish(["train", "--resume", str(folder)], tmp_path / "log.txt")
    assert_same_run(whole, folder)


@pytest.mark.slow
def test_two_processes_evaluate_all_pictures(tmp_path):
    """Under DDP over gloo every validation picture is evaluated once, and only one process prints."""
    folder = tmp_path / "run"
    config = str(config_file(tmp_path, train={"devices": 2, "strategy": "ddp", "epochs": 1}))
    result = killed.python("-W", "error", "-m", "detloss", "train", config, "--output", str(folder))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch     AP   AP50") == 1
    # 12 pictures in batches of 2 on 2 processes: 3 steps.
    assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 3]
    predictions = json.loads((folder / "predictions-val.json").read_text())
    assert {entry["image_id"] for entry in predictions} <= {1, 2, 3}
    # Five detections at most are kept of each picture: one counted twice would have more.
    assert len(predictions) <= 3 * TINY["options"]["box_detections_per_img"]


@pytest.mark.slow
def test_a_run_on_coco_files(tmp_path):
    """Files with string ids train, test data are evaluated at the end, results have the file's own ids."""
    coco_files(tmp_path)
    split = {"images": ".", "annotations": "all.json"}
    file = config_file(tmp_path, train={"epochs": 1, "loggers": ["csv"]})
    data = {"train": split, "val": split, "test": split, "augment": {"scale_jitter": [0.7, 1.4]}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "data": data}))
    folder = tmp_path / "run"
    killed.finish(["train", str(file), "--output", str(folder)], tmp_path / "log.txt")
    metrics = json.loads((folder / "metrics.json").read_text())
    # One epoch, the same pictures: the best weights are the last ones.
    assert metrics["best"] == metrics["last"]
    losses = {name: value for name, value in metrics["best"].items() if name.startswith("loss")}
    assert {"epoch": 1, **metrics["test"], **losses} == metrics["best"]
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
    with pytest.raises(ConfigError, match=r"num_classes is 3, but .* 1 categories \(cell\), 2 with"):
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
    with pytest.raises(DataError, match="has other categories \\(found cell, nucleus, expected cell"):
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
    with pytest.raises(ConfigError, match=r"is a file\. Fix: choose another output folder"):
        train(file, output=file)
    with pytest.raises(ConfigError, match=r"cannot be written: Not a directory\. Fix: choose another output folder"):
        train(file, output=file / "run")


def test_resuming_needs_a_run(tmp_path):
    """A folder that is no run cannot be resumed, and a resumed run takes no other config."""
    with pytest.raises(ConfigError, match=r"has no config\.yaml"):
        train(resume=tmp_path)
    with pytest.raises(ConfigError, match="it does not exist"):
        train(resume=tmp_path / "runs")
    with pytest.raises(ConfigError, match="Fix: remove config and output"):
        train(config_file(tmp_path), resume=tmp_path)


def test_what_lightning_refuses_is_a_config_error(tmp_path):
    """A strategy that Lightning does not know is an error of the config, with Lightning's reason."""
    with pytest.raises(ConfigError, match=r"Lightning refuses the section `train`: .*teleport"):
        train(config_file(tmp_path, train={"strategy": "teleport"}), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_has_threads_of_its_own(tmp_path):
    """`train.threads` is how many threads torch has during the run; afterwards it has as many as before."""
    before, during = torch.get_num_threads(), set()
    file = config_file(tmp_path, train={"epochs": 1, "threads": before + 1})
    train(file, output=tmp_path / "run", progress=lambda _: during.add(torch.get_num_threads()))
    assert during == {before + 1}
    assert torch.get_num_threads() == before


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
