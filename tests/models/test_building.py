from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import BUILDERS, IMAGENET, KINDS, SMALL, differing, imagenet, saved
from torch import nn
from torchvision.models import get_model_builder
from torchvision.ops import FrozenBatchNorm2d

from detloss import ConfigError, ModelConfig, build_model, injected


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder(name: str) -> None:
    """Every builder builds what it builds itself: classes, parameters and their shapes."""
    with torch.device("meta"):
        stock = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=5)
        ours = build_model({"model": name, "num_classes": 5})
    assert [type(module) for module in ours.modules()] == [type(module) for module in stock.modules()]
    assert shapes(ours) == shapes(stock)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_weights_of_other_classes(name: str, tmp_path: Path) -> None:
    """Of each kind of model, weights at the start are the builder's; those of 5 classes give 3 with the rest kept."""
    torch.manual_seed(3)
    stock = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=5)
    torch.manual_seed(3)
    ours = build_model({"model": name, "num_classes": 5})
    assert differing(stock.state_dict(), ours.state_dict()) == set()
    weights = saved(ours, tmp_path)
    same = build_model({"model": name, "weights": weights})
    assert differing(ours.state_dict(), same.state_dict()) == set()
    assert any(not parameter.requires_grad for parameter in same.parameters()) or "ssdlite" in name
    fewer = build_model({"model": name, "weights": weights, "num_classes": 3})
    with torch.device("meta"):
        fresh = shapes(get_model_builder(name)(weights=None, weights_backbone=None, num_classes=3))
    assert shapes(fewer).items() <= fresh.items()
    changed = differing(ours.state_dict(), fewer.state_dict())
    of_classes = {key for key, shape in fresh.items() if shape != shapes(ours)[key]}
    assert of_classes <= changed
    # Everything that changed lies in a predictor: an R-CNN's whole one, a dense head's layers that hold classes.
    assert {key for key in changed if "_predictor." not in key} <= of_classes
    assert of_classes


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in model.state_dict().items()}


@imagenet
def test_weights_of_the_backbone() -> None:
    """A classifier's state dict fills the backbone, whose norms and first layers are frozen as torchvision does."""
    model = build_model({**SMALL, "num_classes": 4, "weights_backbone": IMAGENET})
    state = torch.load(IMAGENET, weights_only=True)
    ours = model.backbone.body.state_dict()
    for key, value in ours.items():
        assert torch.equal(value, state[f"features.{key}"]), key
    assert any(isinstance(module, FrozenBatchNorm2d) for module in model.backbone.body.modules())
    frozen = {name.partition(".")[0] for name, p in model.backbone.body.named_parameters() if not p.requires_grad}
    # Three stages train: from the convolution block at index 7 (stride 16) on.
    assert frozen == {str(i) for i in range(7)}


@imagenet
def test_backbone_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision weights name is read from torch's hub cache."""
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / IMAGENET.name).symlink_to(IMAGENET)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    named = build_model({**SMALL, "num_classes": 4, "weights_backbone": "MobileNet_V2_Weights.IMAGENET1K_V1"})
    path = build_model({**SMALL, "num_classes": 4, "weights_backbone": IMAGENET})
    assert differing(path.backbone.body.state_dict(), named.backbone.body.state_dict()) == set()


def test_missing_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not in the cache are not downloaded: the error says where they belong and how to fetch them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        build_model({"model": "ssdlite320_mobilenet_v3_large", "weights": "DEFAULT"})
    place = tmp_path / "hub" / "checkpoints" / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    assert str(place) in str(caught.value)
    assert "load_state_dict_from_url" in str(caught.value)


def test_losses_are_injected() -> None:
    """The losses of a config are in the model's heads; without losses the heads are torchvision's own."""
    model = build_model({**SMALL, "num_classes": 4, "losses": {"roi_heads": "giou"}})
    assert list(injected(model)) == ["roi_heads"]
    assert not injected(build_model({**SMALL, "num_classes": 4}))


def test_sources(tmp_path: Path) -> None:
    """A path, a mapping and a `ModelConfig` build the same model, and a train config's sections are ignored."""
    file = tmp_path / "model.yaml"
    file.write_text(
        "model: fasterrcnn\nbackbone: mobilenet_v2\nnum_classes: 4\noptions: {min_size: 64, max_size: 64}\n"
        "data: {anything: 1}\ntrain: {epochs: -1}\n"
    )
    spec = {**SMALL, "num_classes": 4}
    states = []
    for source in (file, str(file), spec, ModelConfig(**spec)):
        torch.manual_seed(5)
        states.append(build_model(source).state_dict())
    assert all(differing(states[0], state) == set() for state in states[1:])
    assert build_model(file, ["num_classes=7"]).roi_heads.box_predictor.cls_score.out_features == 7
