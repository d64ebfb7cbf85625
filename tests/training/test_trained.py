"""What is known of a trained detector from its run's folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from runs import weights
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detloss import ConfigError, build_model
from detloss.training import DetectionModule, ShapesDataset, load_trained, train
from detloss.training.settings import ShapesConfig
from detloss.training.trained import card_of, open_trained

NAMES = {1: "ellipse", 2: "rectangle", 3: "triangle"}


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be changed."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def change(file: Path, **keys: Any) -> None:
    """Write other keys into a checkpoint; None removes one."""
    saved = {**torch.load(file, weights_only=True), **keys}
    torch.save({key: value for key, value in saved.items() if value is not None}, file)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_a_checkpoint_says_what_its_labels_mean(trained_run, name):
    """Read by torch alone, each checkpoint has names and ids of the classes, and what an image must become."""
    card = torch.load(trained_run / name, weights_only=True)["detloss"]
    assert card["categories"] == [
        {"label": label, "id": 10 * label, "name": class_name} for label, class_name in NAMES.items()
    ]
    assert card["preprocessing"] == {
        "color": "RGB",
        "scale": [0.0, 1.0],
        "pixel_range": None,
        "exif": "upright",
        "min_size": [64],
        "max_size": 64,
        "fixed_size": None,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }


@pytest.mark.slow
def test_a_run_in_the_home_folder(trained_run, home):
    """`~` in the path of a run is the home folder."""
    shutil.copytree(trained_run, home / "run")
    assert load_trained("~/run").class_names == NAMES


@pytest.mark.slow
def test_a_loaded_detector_has_its_class_names(trained_run):
    """`load_trained` gives the weights of the checkpoint, ready to detect, and the names of its labels."""
    model = load_trained(trained_run, "last")
    saved = weights(trained_run)
    assert all(torch.equal(value, saved[f"model.{key}"]) for key, value in model.state_dict().items())
    assert not model.training
    assert model.class_names == NAMES
    with torch.inference_mode():
        assert model([torch.rand(3, 64, 64)])[0].keys() == {"boxes", "labels", "scores"}


@pytest.mark.slow
def test_an_old_checkpoint_takes_the_names_from_its_data(run):
    """Without names in the checkpoint, the run's data set has them; where that is gone too, an error says so."""
    change(run / "best.ckpt", detloss=None)
    assert load_trained(run).class_names == NAMES
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["train"]["annotations"] = str(run / "gone.json")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_trained(run, "last").class_names == NAMES
    with pytest.raises(
        ConfigError, match=r"best\.ckpt was written by an older detloss(.|\n)*gone\.json(.|\n)*Fix: put"
    ):
        load_trained(run)


@pytest.mark.slow
def test_a_checkpoint_with_other_names_is_a_named_error(run):
    """Where something else stands in the place of the names, the error says where and what."""
    change(run / "best.ckpt", detloss={"categories": [{"label": "\x1b[2J"}], "preprocessing": {}})
    with pytest.raises(ConfigError, match=r"best\.ckpt has no names of its labels \(detloss\.categories\.0\."):
        load_trained(run)


@pytest.mark.slow
def test_a_run_folder_can_be_moved(run, tmp_path, monkeypatch):
    """What a run's config names within its folder is found where the folder is moved to; there the run is resumed."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    shutil.copytree(config["data"]["val"]["images"], run / "data")
    inside = [f"data.val.images={run / 'data'}", f"data.val.annotations={run / 'data' / 'all.json'}"]
    train(resume=run, overrides=inside, progress="off")
    split = yaml.safe_load((run / "config.yaml").read_text())["data"]["val"]
    assert split == {"images": "./data", "annotations": "./data/all.json"}
    monkeypatch.chdir(tmp_path)
    moved = run.rename(tmp_path / "moved")
    expected = json.loads((moved / "metrics.json").read_text())
    (moved / "predictions-val.json").unlink()
    assert train(resume="moved", overrides=["train.epochs=1"], progress="off").metrics == expected
    assert load_trained("moved").class_names == NAMES
    assert open_trained(moved).config.data.val.images == str(moved / "data")


def run_folder(folder: Path, config: dict[str, Any], model: nn.Module) -> Path:
    """A folder as a run with these weights leaves it."""
    data = {"shapes": {"train": 1, "val": 1, "size": 32}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "data": data}))
    card = card_of(model, ShapesDataset(ShapesConfig(train=1, size=32)))
    module = DetectionModule(model, card=card.model_dump())
    checkpoint = {"state_dict": module.state_dict(), "epoch": 0, "global_step": 1}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "best.ckpt")
    return folder


def test_the_weights_that_a_run_began_from_are_not_needed(tmp_path):
    """A run from pretrained weights is loaded without them, with the frozen layers and norms that it had."""
    config = {"model": "fasterrcnn", "backbone": "resnet18", "num_classes": 4, "options": {"min_size": 64}}
    torch.save(build_model(config).state_dict(), tmp_path / "begun.pth")
    config["weights"] = str(tmp_path / "begun.pth")
    model = build_model(config)
    for part in model.modules():
        if isinstance(part, FrozenBatchNorm2d):
            part.eps = 0.0  # as torchvision's builders do for some of their weights
            part.running_var.fill_(0.5)
    run = run_folder(tmp_path, config, model)
    (tmp_path / "begun.pth").unlink()
    loaded = load_trained(run)
    assert [type(part) for part in loaded.modules()] == [type(part) for part in model.modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    assert [parameter.requires_grad for parameter in loaded.parameters()] == trainable
    assert False in trainable
    image = torch.rand(3, 64, 64)
    with torch.inference_mode():
        expected, found = (each.eval()([image])[0] for each in (model, loaded))
    assert len(expected["boxes"]) > 0
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_the_losses_of_a_run_need_not_be_installed(tmp_path):
    """A command that only detects loads a run whose loss is of a package that is not there."""
    config = {"model": "fasterrcnn", "backbone": "mobilenet_v2", "num_classes": 4, "losses": {"roi_heads": "wiou"}}
    run = run_folder(tmp_path, config, build_model(config))
    saved = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**saved, "losses": {"roi_heads": "of_nobody"}}))
    assert open_trained(run).card.class_names == NAMES
    with pytest.raises(ConfigError, match="of_nobody"):
        load_trained(run)
