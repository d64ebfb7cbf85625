"""Runs that `detloss train` itself made, compared."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from runs import config_file

from detloss._version import __version__
from detloss.compare.analysis.analyzing import analyze_folders
from detloss.training import train

LOSSES = ("smooth_l1", "giou")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> list[Path]:
    """Two short runs that differ in their loss, with validation and test data."""
    home = tmp_path_factory.mktemp("real")
    file = config_file(
        home,
        data={"shapes": {"train": 24, "val": 20, "test": 30, "size": 64}},
        train={"epochs": 4, "lr": 3e-3, "batch_size": 4, "optimizer": "adamw", "validate_every": 4, "pictures": 0},
        # Whatever it is, it is written: some of it finds an object.
        options={"box_score_thresh": 0.0, "box_nms_thresh": 0.7, "box_detections_per_img": 50},
    )
    return [
        train(file, output=home / loss, overrides=[f"losses.roi_heads={loss}"], progress="off").folder
        for loss in LOSSES
    ]


@pytest.mark.parametrize(("split", "key"), [("val", "last"), ("test", "test"), (None, "test")])
def test_numbers_are_those_of_the_runs(two_runs, split, key):
    """A run's numbers are exactly those that it wrote, to the digits of a comparison; test data go first."""
    found = analyze_folders(two_runs, split=split)
    assert [arm.label for arm in found.arms] == list(LOSSES)
    for folder, arm in zip(two_runs, found.arms, strict=True):
        written = {
            name: round(value, 6) for name, value in json.loads((folder / "metrics.json").read_text())[key].items()
        }
        (run,) = arm.runs
        assert {name: written[name] for name in run.metrics} == run.metrics
        assert {f"AP/{name}": value for name, value in run.classes.items()}.items() <= written.items()
        assert run.metrics["AP"] > 0
        assert run.curve
    assert found.question.images == {"last": 20, "test": 30}[key]
    assert not found.selection


def test_what_the_runs_were_made_with(two_runs):
    """Versions, hashes of the data and devices are those of the runs, which say what they took."""
    found = analyze_folders(two_runs)
    made = json.loads((two_runs[0] / "provenance.json").read_text())
    assert found.provenance["versions"]["detloss"] == __version__
    assert found.provenance["versions"]["detloss-iou"]
    assert found.provenance["data"] == made["data"]
    assert found.measured.devices == (made["device"],)
    assert all(run.seconds_a_step and run.memory_mib for run in found.measured.runs)


def test_a_record_without_checkpoints(two_runs, tmp_path):
    """Checkpoints may be gone and predictions packed, wherever the folders are: what is found is the same."""
    moved = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in two_runs]
    for folder in moved:
        for name in ("best.ckpt", "last.ckpt"):
            (folder / name).unlink()
        file = folder / "predictions-test.json"
        (folder / "predictions-test.json.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    first, second = analyze_folders(two_runs), analyze_folders(moved)
    assert second.differences == first.differences
    assert [arm.hash for arm in second.arms] == [arm.hash for arm in first.arms]
