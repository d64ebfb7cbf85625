"""What a run was made with: ``provenance.json``."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from runs import config_file

from detloss.training import train
from detloss.training.provenance import Provenance

pytestmark = pytest.mark.slow

LOSSES = {"roi_heads": [{"name": "inner", "base": {"name": "giou"}}, "smooth_l1"]}


def provenance(folder: Path) -> Provenance:
    return Provenance.model_validate_json((folder / "provenance.json").read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of one epoch."""
    folder = tmp_path_factory.mktemp("whole")
    file = config_file(folder, train={"epochs": 1})
    return train(file, output=folder / "run", progress="off", overrides=[f"losses={json.dumps(LOSSES)}"]).folder


def test_a_run_says_what_it_was_made_with(whole):
    """It names Python, all packages, those of losses within losses too, the device and the config, and has no date."""
    found = provenance(whole)
    assert found.versions["python"] == platform.python_version()
    packages = {"detloss", "detloss-iou", "detloss-l1", "torch", "torchvision", "pytorch-lightning", "numpy"}
    assert packages <= found.versions.keys()
    assert all(version(package) == found.versions[package] for package in found.versions.keys() - {"python"})
    assert found.device == f"cpu ({torch.get_num_threads()} threads)"
    assert found.config == yaml.safe_load((whole / "config.yaml").read_text())
    assert found.earlier == ()
    assert found.data.keys() == {"train", "val"}


def test_data_are_known_by_their_annotations_and_names(trained_run):
    """The hashes are those of the annotation file's bytes and of the images' names; equal data have equal ones."""
    found = provenance(trained_run)
    file = trained_run.parent / "images" / "all.json"
    names = [image["file_name"] for image in json.loads(file.read_text())["images"]]
    assert found.data["train"] == found.data["val"] == found.data["test"]
    assert found.data["test"].annotations == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.data["test"].images == hashlib.sha256(json.dumps(names).encode()).hexdigest()


def test_what_a_run_was_made_with_before_it_was_resumed_is_kept(whole, tmp_path):
    """A run that is resumed with another config keeps what its first part was made with; as it was, it repeats."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    before = (run / "provenance.json").read_bytes()
    train(resume=run, progress="off")
    assert (run / "provenance.json").read_bytes() == before
    for _ in range(2):
        train(resume=run, progress="off", overrides=["train.epochs=2"])
        assert provenance(run).config["train"]["epochs"] == 2
        assert provenance(run).earlier == (provenance(whole),)
    (run / "provenance.json").write_text("[")
    train(resume=run, progress="off")
    assert provenance(run).config["train"]["epochs"] == 2
