from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from power_losses import YAML, PowerLoss, findings, places
from pydantic import ValidationError

from detloss import ConfigError, LossSpec, ModelConfig, NestedSpec, UnknownPluginError, build_loss, load_config
from detloss.config import check_spec, is_path
from detloss.training.settings import TrainConfig

pytestmark = pytest.mark.usefixtures("power_losses")


TOML = """\
model = "ssd300_vgg16"
num_classes = 4
options.score_thresh = 0.5
[[losses.roi_heads]]
name = "power"
[[losses.roi_heads]]
name = "power"
power = 3
weight = 2
"""
JSON = """\
{"$schema": "detloss.json", "model": "ssd300_vgg16", "num_classes": 4, "options": {"score_thresh": 0.5},
 "losses": {"roi_heads": ["power", {"name": "power", "power": 3, "weight": 2}]}}
"""


@pytest.mark.parametrize(("name", "text"), [("m.yaml", YAML), ("m.yml", YAML), ("m.toml", TOML), ("m.json", JSON)])
def test_formats(write: Callable[..., Path], name: str, text: str) -> None:
    """YAML, TOML, JSON and a mapping of the same content give the same config, with or without a byte order mark."""
    expected = ModelConfig(
        model="ssd300_vgg16",
        num_classes=4,
        options={"score_thresh": 0.5},
        losses={"roi_heads": (LossSpec(name="power"), LossSpec(name="power", power=3, weight=2))},
    )
    assert load_config(write(text, name)) == expected
    assert load_config(write(b"\xef\xbb\xbf" + text.encode(), name)) == expected
    assert load_config(yaml.safe_load(YAML)) == expected


def test_one_loss_is_a_list_of_one() -> None:
    """A name, a spec and a list of one of them are the same losses of a head, and null sections are empty ones."""
    for given_loss in ("power", {"name": "power"}, ["power"], [{"name": "power"}], LossSpec(name="power")):
        config = load_config({"model": "x", "losses": {"roi_heads": given_loss}, "options": None})
        assert config.losses == {"roi_heads": (LossSpec(name="power"),)}
        assert config.options == {}


def test_instance() -> None:
    """A config is checked like a file, and handed back itself where it is right."""
    config = ModelConfig(model="x", losses={"roi_heads": "power"})  # type: ignore[dict-item]
    assert load_config(config) is config
    wrong = ModelConfig(model="x", losses={"roi_heads": (LossSpec(name="power", pwoer=1),)})
    (finding,) = findings(wrong)
    assert (finding.key, finding.near) == ("losses.roi_heads.0.pwoer", "power")


def test_config_is_frozen() -> None:
    """A config cannot be changed."""
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig(model="x").model = "y"  # type: ignore[misc]


WRONG_YAML = """\
modle: ssd300_vgg16
num_classes: "4"
losses:
  roi_heads:
    - {name: power, pwoer: 3, weight: -2}
    - name: pwer
  rio_heads: power
"""
WRONG_TOML = """\
modle = "ssd300_vgg16"
num_classes = "4"
[[losses.roi_heads]]
name = "power"
pwoer = 3
weight = -2
[[losses.roi_heads]]
name = "pwer"
[losses.rio_heads]
name = "power"
"""
WRONG_JSON = """\
{"modle": "ssd300_vgg16",
 "num_classes": "4",
 "losses": {
\t"roi_heads": [{"name": "power", "pwoer": 3, "weight": -2},
                {"name": "pwer"}],
  "rio_heads": "power"}}
"""
# Counted by hand in the texts above: key of what is unknown, value of what is wrong, the mapping that lacks a key.
# In JSON the tab is one character; tomllib does not say where a value stands.
WRONG = {
    "m.yaml": [(1, 1, ""), (1, 1, ""), (2, 14, ""), (5, 21, ""), (5, 39, ""), (6, 13, ""), (7, 3, "")],
    "m.toml": [(None, None, "")] * 7,
    "m.json": [(1, 1, ""), (1, 2, ""), (2, 17, ""), (4, 34, ""), (4, 56, ""), (5, 26, ""), (6, 3, "")],
}
KEYS = {
    "model",
    "modle",
    "num_classes",
    "losses.roi_heads.0.pwoer",
    "losses.roi_heads.0.weight",
    "losses.roi_heads.1.name",
    "losses.rio_heads",
}


@pytest.mark.parametrize(
    ("name", "text"), [("m.yaml", WRONG_YAML), ("m.toml", WRONG_TOML), ("m.json", WRONG_JSON)], ids=list(WRONG)
)
def test_row_22_every_error_has_its_place(write: Callable[..., Path], name: str, text: str) -> None:
    """One error lists all findings of both steps, each with file, key path and near key, and its place but in TOML."""
    file = write(text, name)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    noted = caught.value.findings
    assert [(each.line, each.column) for each in noted] == [(line, column) for line, column, _ in WRONG[name]]
    assert {each.key for each in noted} == KEYS
    assert {each.file for each in noted} == {str(file)}
    near = {each.key: each.near for each in noted if each.near}
    assert near == {
        "modle": "model",
        "losses.roi_heads.0.pwoer": "power",
        "losses.roi_heads.1.name": "power",
        "losses.rio_heads": "roi_heads",
    }
    message = str(caught.value)
    assert message.startswith(f"7 errors in {file}:\n")
    place = "" if name == "m.toml" else f":2:{WRONG[name][2][1]}"
    assert f"  {file}{place}: num_classes: should be a valid integer, found '4'" in message


@pytest.mark.parametrize(("text", "message"), [("", "model: is missing"), ("- a\n", "mapping"), ("3\n", "mapping")])
def test_no_mapping(write: Callable[..., Path], text: str, message: str) -> None:
    """An empty file lacks its keys, and a list or a number is no config."""
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_build_loss() -> None:
    """A name, a mapping and a spec give the loss with its parameters."""
    for spec in (
        {"name": "power", "power": 3},
        LossSpec(name="power", power=3),
        NestedSpec(name="power", power=3),
    ):
        loss = build_loss(spec)
        assert isinstance(loss, PowerLoss)
        assert loss.config.power == 3
    assert isinstance(build_loss("power"), PowerLoss)
    assert check_spec("power").config == PowerLoss.Config()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "power", "pwoer": 3}, "pwoer: unknown key; did you mean 'power'"),
        ({"name": "power", "power": -3}, "power: should be greater than 0, found -3"),
        ({"name": "power", "weight": "2"}, "weight: should be a valid number"),
        ({"name": "power", "weight": 2}, "only a head applies 'weight'. Fix: give the spec to `inject`"),
        (LossSpec(name="power", normalizer="positives"), "only a head applies 'normalizer'"),
        ({"name": "power", "normalizer": "stok"}, "normalizer: .*did you mean 'stock'"),
        ({"power": 3}, "name: is missing"),
        ({"name": "power", "power": object()}, "power: a config holds plain data"),
        (3, "a loss is a name or a mapping"),
    ],
)
def test_build_loss_refuses(spec: Any, message: str) -> None:
    """A wrong spec is a config error that names the key."""
    with pytest.raises(ConfigError, match=message):
        build_loss(spec)


def test_build_loss_lists_all_errors() -> None:
    """What is wrong with the envelope, the name and the parameters of one spec is one error."""
    with pytest.raises(ConfigError) as caught:
        build_loss({"name": "power", "weight": -1, "power": "2", "pwoer": 3})
    assert {each.key for each in caught.value.findings} == {"weight", "power", "pwoer"}
    with pytest.raises(ConfigError, match=r"(?s)weight: should be greater than or equal to 0.*There is no loss 'pwer'"):
        build_loss({"name": "pwer", "weight": -1})


def test_build_loss_with_unknown_name() -> None:
    """An unknown name is the registry's own error, with near names."""
    with pytest.raises(UnknownPluginError, match="'power'"):
        build_loss("pwer")


def test_train_config(write: Callable[..., Path]) -> None:
    """One file is read as a train config, with places in its sections, and as a model config, which ignores them."""
    text = YAML + "data:\n  shapes: {train: 10, val: 4}\ntrain:\n  epochs: 3\n  milestones: [0.5]\n"
    config = load_config(write(text), TrainConfig)
    assert (config.train.epochs, config.train.milestones, config.num_classes) == (3, [0.5], 4)
    assert type(load_config(write(text), overrides=["train.epochs=0"])) is ModelConfig
    assert type(load_config(config, overrides=["num_classes=5"])) is ModelConfig
    wrong = text.replace("epochs: 3", "epocs: 3").replace("[0.5]", "[0.5, 2]").replace("train: 10", "train: 0")
    assert places(write(wrong), schema=TrainConfig) == [
        (9, 19, "data.shapes.train"),
        (11, 3, "train.epocs"),
        (12, 21, "train.milestones.1"),
    ]
    assert findings(write(wrong), schema=TrainConfig)[1].near == "epochs"


def test_weights_beside_the_file(write: Callable[..., Path], tmp_path: Path) -> None:
    """A path to weights in a file is relative to the file; in an override or a mapping it stays as it is."""
    file = write("model: x\nweights: ../a.pth\nweights_backbone: DEFAULT\n")
    config = load_config(file)
    assert config.weights == str((tmp_path.parent / "a.pth").resolve())
    assert config.weights_backbone == "DEFAULT"
    assert load_config(file, overrides=["weights=b/a.pth"]).weights == "b/a.pth"
    assert load_config({"model": "x", "weights": Path("b/a.pth")}).weights == "b/a.pth"


def test_is_path() -> None:
    """A suffix of weights or a folder makes a path; torchvision's names have neither."""
    assert [is_path(text) for text in ("a.pth", "a/b", "x.PT", "DEFAULT", "SSD300_VGG16_Weights.COCO_V1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_mapping_is_not_changed() -> None:
    """Overrides and defaults leave the caller's mapping as it was."""
    source = {"model": "x", "losses": {"roi_heads": ["power"]}}
    load_config(source, overrides=["losses.roi_heads.0.power=3", "options.a=1"])
    assert source == {"model": "x", "losses": {"roi_heads": ["power"]}}
