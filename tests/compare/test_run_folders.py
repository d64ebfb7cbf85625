"""Run folders that are read to be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import SHAPES, made_run, planned_runs, truth
from runs import coco_files

from detloss import ConfigError
from detloss.compare.analysis.run_folders import read_planned, read_records
from detloss.compare.analysis.run_records import Failed, Finished
from detloss.training.data.dataset import CocoDataset
from detloss.training.data.sources import open_split, read_config
from detloss.training.provenance import Provenance, SplitDigest, digest


def provenance(folder: Path, device: str = "cpu (1 threads)") -> dict[str, SplitDigest]:
    """Write what the data of a run are, as a training does, and return it."""
    config = read_config(folder / "config.yaml")
    data = {name: digest(config, name, open_split(config, name)) for name in ("train", "val")}
    text = Provenance(versions={}, device=device, data=data, config={}).model_dump_json()
    (folder / "provenance.json").write_text(text)
    return data


def test_arms_and_seeds(tmp_path):
    """Runs of one loss are one arm; the ground truth is that of their data, here synthetic images made again."""
    folders = [
        made_run(tmp_path / f"{number}", losses, seed)
        for number, (losses, seed) in enumerate([("giou", 0), ({"name": "giou", "weight": 5}, 0), ("giou", 1)])
    ]
    found = read_records(folders)
    assert [(run.arm.label, run.seed) for run in found.runs] == [("giou", 0), ("giou:5", 0), ("giou", 1)]
    assert [arm.label for arm in found.arms] == ["giou", "giou:5"]
    assert found.runs[0].arm == found.runs[2].arm
    # 10 is recommended for giou in this head.
    assert [arm.weight for arm in found.arms] == [10, 5]
    assert found.truth == truth()
    assert (found.split, found.selection, found.data) == ("val", True, "synthetic images")
    assert (found.model, found.head) == ("fasterrcnn tiny", "roi_heads")
    assert all(isinstance(run.outcome, Finished) for run in found.runs)


def test_the_head_that_differs_is_compared(tmp_path):
    """Where the losses of another head than the usual one differ, that one is compared."""
    found = read_records([made_run(tmp_path / "a", "l1", head="rpn"), made_run(tmp_path / "b", "giou", head="rpn")])
    assert (found.head, [arm.label for arm in found.arms]) == ("rpn", ["l1", "giou"])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train": {"lr": 0.5}}, "  train.lr: 0.001 and 0.5"),
        ({"data": {"shapes": {**SHAPES, "seed": 1}}}, "  data.shapes.seed: 0 and 1"),
        ({"options": {"min_size": 96}}, "  options.min_size: 64 and 96"),
    ],
)
def test_other_differences_are_refused(tmp_path, changes, line):
    """Whatever else differs is named, with both values."""
    folders = [made_run(tmp_path / "a"), made_run(tmp_path / "b", "ciou", changes=changes)]
    with pytest.raises(ConfigError) as caught:
        read_records(folders)
    assert line in str(caught.value).splitlines()
    assert str(folders[1]) in str(caught.value)


def test_what_is_shown_may_differ(tmp_path):
    """How often a run writes and draws, and where it is computed, does not matter."""
    changes = {"train": {"log_every": 7, "pictures": 0, "threads": 2, "loggers": ["csv"]}, "data": {"workers": 3}}
    found = read_records([made_run(tmp_path / "a"), made_run(tmp_path / "b", "ciou", changes=changes)])
    assert len(found.arms) == 2


def test_the_same_run_twice_is_refused(tmp_path):
    """Both folders are named."""
    folders = [made_run(tmp_path / name, "giou", 3) for name in ("a", "b")]
    with pytest.raises(ConfigError, match=r"a and .*b are the same: giou with seed 3"):
        read_records(folders)


def test_a_loss_that_is_not_installed(tmp_path):
    """Runs can be compared where their losses are not installed: nothing is built."""
    found = read_records([made_run(tmp_path / "a"), made_run(tmp_path / "b", "their_loss")])
    assert [(arm.label, arm.weight) for arm in found.arms] == [("giou", 10), ("their_loss", None)]


def test_an_unfinished_run_is_refused_and_a_failed_one_is_not(tmp_path):
    """What can be finished is to be finished or left out; a failure is a result."""
    whole, half = made_run(tmp_path / "a"), made_run(tmp_path / "b", "ciou")
    (half / "metrics.json").unlink()
    with pytest.raises(ConfigError, match=rf"{half} is not finished(?s:.*)detloss train --resume {half}"):
        read_records([whole, half])
    (half / "failed.json").write_text('{"reason": "out of memory", "exit": 137}')
    assert read_records([whole, half]).runs[1].outcome == Failed("out of memory")


def test_no_run(tmp_path):
    """A folder that is not a run's is named, and so is a config that is none."""
    with pytest.raises(ConfigError, match="is not the folder of a run"):
        read_records([tmp_path])
    folder = made_run(tmp_path / "a")
    (folder / "config.yaml").write_text("model: 3\n")
    with pytest.raises(ConfigError, match=rf"{folder}/config\.yaml is not the config of a run"):
        read_records([folder])
    with pytest.raises(ConfigError, match="the run has no test data"):
        read_records([made_run(tmp_path / "b")], "test")


def test_images_of_another_version(tmp_path):
    """Ground truth that changed after a run would measure it by other objects: refused, with both hashes."""
    folders = [made_run(tmp_path / "a"), made_run(tmp_path / "b", "ciou")]
    for folder in folders:
        data = provenance(folder)
    assert len(read_records(folders).runs) == 2
    now = data["val"].annotations
    for folder in folders:
        text = (folder / "provenance.json").read_text()
        (folder / "provenance.json").write_text(text.replace(now, "0" * 64))
    with pytest.raises(ConfigError, match=rf"annotations of the val data(?s:.*){'0' * 64} and is {now}"):
        read_records(folders)


def coco_run(tmp_path: Path, name: str, losses: str) -> Path:
    """A made run on a COCO data set in a folder of its own, with ids of its own."""
    images = tmp_path / name / "images"
    images.mkdir(parents=True)
    coco_files(images)
    split = {"images": str(images), "annotations": str(images / "all.json")}
    folder = made_run(tmp_path / name / "run", losses, changes={"data": {"shapes": None, "train": split, "val": split}})
    (folder / "predictions-val.json").write_text(
        json.dumps([{"image_id": "i2", "category_id": 30, "bbox": [1, 2, 3, 4], "score": 0.5}])
    )
    return folder


def test_the_same_data_elsewhere(tmp_path):
    """Paths may differ where the hashes are known to be equal, and not where they are not known."""
    folders = [coco_run(tmp_path, "a", "giou"), coco_run(tmp_path, "b", "ciou")]
    with pytest.raises(ConfigError, match=r"data\.train\.images: .*a/images and .*b/images"):
        read_records(folders)
    for folder in folders:
        provenance(folder)
    found = read_records(folders)
    assert found.data == "images/all.json"
    assert found.truth == CocoDataset(tmp_path / "a/images", tmp_path / "a/images/all.json").coco
    assert isinstance(found.runs[0].outcome, Finished)
    assert found.runs[0].outcome.rows.tolist() == [[2, 1, 2, 3, 4, 0.5, 3]]


def test_other_annotations_of_the_same_name_are_refused(tmp_path):
    """Data with other hashes are other data."""
    folders = [coco_run(tmp_path, "a", "giou"), coco_run(tmp_path, "b", "ciou")]
    file = tmp_path / "b/images/all.json"
    file.write_text(file.read_text().replace('"2024"', '"2025"'))
    for folder in folders:
        provenance(folder)
    with pytest.raises(ConfigError, match=r"data\.train\.annotations: [0-9a-f]{64} and [0-9a-f]{64}"):
        read_records(folders)


def test_processes_are_part_of_the_experiment(tmp_path):
    """A run on two devices takes steps of twice as many images: it is no other seed of a run on one."""
    folders = [made_run(tmp_path / "a"), made_run(tmp_path / "b", "ciou")]
    for folder, device in zip(folders, ("cuda:0 (H200)", "2 x cuda (H200)"), strict=True):
        provenance(folder, device)
    with pytest.raises(ConfigError, match="number of devices: 1 and 2"):
        read_records(folders)


def test_runs_of_a_plan(tmp_path):
    """A comparison's own runs have the labels of its plan; those that are missing or not finished have no outcome."""
    plan = planned_runs(tmp_path, {"smooth_l1": 2.0, "mine": 1.0}, seeds=3)
    (plan.runs[2].folder / "metrics.json").unlink()
    (plan.runs[3].folder / "metrics.json").unlink()
    (plan.runs[3].folder / "failed.json").write_text('{"reason": "NaN"}')
    (plan.runs[0].folder.parent / "dropped.json").write_text('{"after": 2}')
    for path in sorted(plan.runs[4].folder.iterdir()):
        path.unlink()
    found = read_planned(plan)
    assert [(run.arm.label, run.seed, type(run.outcome)) for run in found.runs] == [
        ("smooth_l1", 0, Finished),
        ("mine", 0, Finished),
        ("smooth_l1", 1, type(None)),
        ("mine", 1, Failed),
        ("smooth_l1", 2, type(None)),
        ("mine", 2, Finished),
    ]
    assert [arm.dropped_after for arm in found.arms] == [2, None]
    assert [(arm.weight, arm.gradient_ratio) for arm in found.arms] == [(1, 1), (8, 0.5)]
    assert [arm.hash for arm in found.arms] == [arm.hash for arm in plan.arms]
    assert found.head == "roi_heads"


def test_data_that_changed_between_runs_of_a_plan(tmp_path):
    """Runs of a comparison that were trained on other data than the first ones are refused."""
    plan = planned_runs(tmp_path, {"smooth_l1": 2.0, "mine": 1.0}, seeds=1)
    for run in plan.runs:
        data = provenance(run.folder)
    file = plan.runs[1].folder / "provenance.json"
    file.write_text(file.read_text().replace(data["train"].annotations, "0" * 64))
    with pytest.raises(ConfigError, match=rf"data\.train\.annotations: [0-9a-f]{{64}} and {'0' * 64}"):
        read_planned(plan)
