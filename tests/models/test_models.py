from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model_builder, list_models
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FrozenBatchNorm2d

from detloss import ConfigError, ModelConfig, build_model, injected
from detloss.errors import Finding
from detloss.models.architecture import accepted_options, find_architecture

BUILDERS = list_models(module=torchvision.models.detection)
# The least model there is: a MobileNet without pretrained weights.
SMALL: dict[str, Any] = {"model": "fasterrcnn", "backbone": "mobilenet_v2", "options": {"min_size": 64, "max_size": 64}}
IMAGENET = Path(__file__).parents[3] / "shared" / "weights" / "mobilenet_v2-b0353104.pth"
imagenet = pytest.mark.skipif(not IMAGENET.is_file(), reason="mobilenet_v2-b0353104.pth is not beside the repository")


def saved(model: nn.Module, folder: Path, name: str = "state.pth") -> str:
    torch.save(model.state_dict(), folder / name)
    return str(folder / name)


def differing(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> set[str]:
    """Keys of `new` whose tensor is not that of `old`, bit for bit."""
    return {key for key in new if not key.endswith("num_batches_tracked") and not torch.equal(old[key], new[key])}


def findings(config: Any) -> list[Finding]:
    with pytest.raises(ConfigError) as caught:
        build_model(config)
    return list(caught.value.findings)


def losses_of(model: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(0)
    target = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 50.0]]), "labels": torch.tensor([1])}
    losses: dict[str, Tensor] = model.train()([torch.rand(3, 64, 64)], [target])
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder(name: str, tmp_path: Path) -> None:
    """Every builder builds what it builds itself, and weights of 5 classes give a model of 3 with the rest kept."""
    torch.manual_seed(3)
    stock = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=5)
    torch.manual_seed(3)
    ours = build_model({"model": name, "num_classes": 5})
    assert type(ours) is type(stock)
    assert differing(stock.state_dict(), ours.state_dict()) == set()
    weights = saved(ours, tmp_path)
    same = build_model({"model": name, "weights": weights})
    assert differing(ours.state_dict(), same.state_dict()) == set()
    assert any(not parameter.requires_grad for parameter in same.parameters()) or "ssdlite" in name
    fewer = build_model({"model": name, "weights": weights, "num_classes": 3})
    fresh = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=3).state_dict()
    assert {key: value.shape for key, value in fewer.state_dict().items()}.items() <= {
        key: value.shape for key, value in fresh.items()
    }.items()
    changed = differing(ours.state_dict(), fewer.state_dict())
    of_classes = {key for key in fresh if fresh[key].shape != ours.state_dict()[key].shape}
    assert of_classes <= changed
    # Everything that changed lies in a predictor: an R-CNN's whole one, a dense head's layers that hold classes.
    assert {key for key in changed if "_predictor." not in key} <= of_classes
    assert of_classes


def test_classes_of_a_pretrained_model(tmp_path: Path) -> None:
    """A small Faster R-CNN of 5 classes becomes one of 3: only `box_predictor` is new, and it trains."""
    model = build_model({**SMALL, "num_classes": 5})
    weights = saved(model, tmp_path)
    fewer = build_model({**SMALL, "num_classes": 3, "weights": weights})
    # 3 scores and 3 boxes of 4 numbers.
    assert fewer.roi_heads.box_predictor.cls_score.out_features == 3
    assert fewer.roi_heads.box_predictor.bbox_pred.out_features == 12
    assert differing(model.state_dict(), fewer.state_dict()) == {
        f"roi_heads.box_predictor.{layer}.{kind}" for layer in ("cls_score", "bbox_pred") for kind in ("weight", "bias")
    }
    assert all(torch.isfinite(loss) for loss in losses_of(fewer).values())


def test_mask_predictor_is_replaced_whole(tmp_path: Path) -> None:
    """A Mask R-CNN of another number of classes gets a whole new mask predictor, as the tutorial gives it one."""
    spec = {**SMALL, "model": "maskrcnn"}
    model = build_model({**spec, "num_classes": 5})
    assert type(model) is MaskRCNN
    fewer = build_model({**spec, "num_classes": 3, "weights": saved(model, tmp_path)})
    changed = differing(model.state_dict(), fewer.state_dict())
    assert {key.rpartition(".")[0] for key in changed} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.conv5_mask",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
    assert fewer.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 3


def test_dense_head_counts_its_classes(tmp_path: Path) -> None:
    """An SSDlite of 5 classes becomes one of 3, whose head reads 3 scores an anchor and whose losses are finite."""
    model = build_model({"model": "ssdlite320_mobilenet_v3_large", "num_classes": 5})
    config = {"model": "ssdlite320_mobilenet_v3_large", "num_classes": 3, "weights": saved(model, tmp_path)}
    fewer = build_model(config)
    assert fewer.head.classification_head.num_columns == 3
    target = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 50.0]]), "labels": torch.tensor([1])}
    losses = fewer.train()([torch.rand(3, 64, 64), torch.rand(3, 64, 64)], [target, target])
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.slow
def test_keypoints_of_a_pretrained_model(tmp_path: Path) -> None:
    """A Keypoint R-CNN of 17 keypoints becomes one of 5: only the keypoint predictor is new."""
    name = "keypointrcnn_resnet50_fpn"
    model = build_model({"model": name})
    weights = saved(model, tmp_path)
    fewer = build_model({"model": name, "weights": weights, "options": {"num_keypoints": 5}})
    changed = differing(model.state_dict(), fewer.state_dict())
    assert changed == {f"roi_heads.keypoint_predictor.kps_score_lowres.{kind}" for kind in ("weight", "bias")}
    assert fewer.roi_heads.keypoint_predictor.kps_score_lowres.out_channels == 5
    assert fewer.roi_heads.box_predictor.cls_score.out_features == 2


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small", "resnet18"])
def test_backbone_with_fpn(backbone: str) -> None:
    """A backbone without a builder of its own gives one anchor size a map, and losses that are finite."""
    model = build_model({**SMALL, "backbone": backbone, "num_classes": 4})
    maps = model.backbone(torch.rand(1, 3, 128, 128))
    assert len(model.rpn.anchor_generator.sizes) == len(maps)
    strides = {name: 128 // features.shape[-1] for name, features in maps.items()}
    # Each map halves the one before it; ResNets begin at stride 4, MobileNets at 8.
    first = 4 if backbone == "resnet18" else 8
    assert list(strides.values()) == [first * 2**i for i in range(len(strides))]
    pooled = set(model.roi_heads.box_roi_pool.featmap_names)
    assert pooled == set(maps) - {"pool"}
    assert all(torch.isfinite(loss) for loss in losses_of(model).values())


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
@pytest.mark.parametrize(("layers", "first_trained"), [(0, 19), (1, 18), (6, 0)])
def test_trainable_layers(layers: int, first_trained: int) -> None:
    """`trainable_backbone_layers` decides which blocks of a pretrained backbone train (MobileNetV2 has 19)."""
    options = {**SMALL["options"], "trainable_backbone_layers": layers}
    model = build_model({**SMALL, "num_classes": 4, "weights_backbone": IMAGENET, "options": options})
    trained = {int(name.partition(".")[0]) for name, p in model.backbone.body.named_parameters() if p.requires_grad}
    blocks = {int(name.partition(".")[0]) for name, _ in model.backbone.body.named_parameters()}
    assert trained == {block for block in blocks if block >= first_trained}


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


def test_wrapped_state_dicts(tmp_path: Path) -> None:
    """A state dict is found under `model` and `state_dict`, and a prefix that all its keys share is taken off."""
    model = build_model({**SMALL, "num_classes": 3})
    state = model.state_dict()
    for i, content in enumerate(
        (
            {"model": state, "epoch": 3},
            {"state_dict": {f"model.{key}": value for key, value in state.items()}},
            {f"module.{key}": value for key, value in state.items()},
            {**state, "roi_heads.detloss.losses.0.mean": torch.zeros(())},
        )
    ):
        file = tmp_path / f"{i}.pth"
        torch.save(content, file)
        assert differing(state, build_model({**SMALL, "weights": file}).state_dict()) == set()


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    """A state dict of something else is refused with the first keys that are missing and unexpected, and the shapes."""
    state = build_model({**SMALL, "num_classes": 3}).state_dict()
    state["rpn.head.extra"] = torch.zeros(1)
    del state["rpn.head.bbox_pred.weight"]
    state["rpn.head.bbox_pred.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ConfigError) as caught:
        build_model({**SMALL, "weights": tmp_path / "other.pth"})
    message = str(caught.value)
    assert "does not fit FasterRCNN" in message
    assert "1 keys are missing: rpn.head.bbox_pred.weight" in message
    assert "1 keys are unexpected: rpn.head.extra" in message
    assert "rpn.head.bbox_pred.bias (5,), not (12,)" in message  # 3 anchors of 4 numbers


class Evil:
    """An object that would run code where a file is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [Evil(), [1, 2], {"a": 3}, {}])
def test_files_that_hold_no_state(content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that holds anything but tensors is refused, and no code of it runs."""
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ConfigError, match=r"state dict.*torch\.save\(model\.state_dict\(\)"):
        build_model({**SMALL, "weights": tmp_path / "x.pth"})
    assert "unpickled" not in capsys.readouterr().out


def test_text_file_as_weights(tmp_path: Path) -> None:
    """A file that torch cannot read is a config error."""
    (tmp_path / "x.pth").write_text("hello")
    with pytest.raises(ConfigError, match="is no checkpoint of torch"):
        build_model({**SMALL, "weights": tmp_path / "x.pth"})


@pytest.mark.parametrize(
    ("changed", "key", "near", "message"),
    [
        ({"model": "fasterrcnn_resnet50_fnp", "backbone": None}, "model", "fasterrcnn_resnet50_fpn", "no detector"),
        ({"backbone": None}, "model", None, "needs a backbone. There are: mobilenet_v2"),
        ({"backbone": "mobilnet_v2"}, "backbone", "mobilenet_v2", "no backbone with FPN"),
        ({"backbone": "vit_b_16"}, "backbone", None, "no backbone with FPN"),
        ({"model": "ssd300_vgg16"}, "backbone", None, "has its own backbone"),
        ({"weights": "DEFAULT"}, "weights", None, "give a path"),
        ({"weights": "nowhere/a.pth"}, "weights", None, "there is no file 'nowhere/a.pth'"),
        ({"weights_backbone": "IMAGENET1K_V3"}, "weights_backbone", "IMAGENET1K_V2", "no such weights"),
        ({"options": {"min_sise": 3}}, "options.min_sise", "min_size", "unknown option"),
        (
            {"options": {"box_score_thresh": "1e-3"}},
            "options.box_score_thresh",
            None,
            "write the number without quotes",
        ),
        ({"options": {"min_size": True}}, "options.min_size", None, "should be a number"),
        ({"options": {"box_nms_thresh": None}}, "options.box_nms_thresh", None, "should be a number"),
        ({"options": {"min_size": []}}, "options.min_size", None, "should be a number or a list of numbers"),
        ({"options": {"min_size": float("nan")}}, "options.min_size", None, "should be a finite number, found nan"),
        ({"options": {"num_classes": 3}}, "options.num_classes", None, "at the top of the config"),
        ({"options": {"box_head": 3}}, "options.box_head", None, "build the model yourself"),
        ({"options": {"trainable_backbone_layers": 3}}, "options.trainable_backbone_layers", None, "no effect"),
        ({"losses": {"retinanet": "giou"}}, "losses.retinanet", None, "has no head 'retinanet'"),
    ],
)
def test_what_torchvision_does_not_take(changed: Any, key: str, near: str | None, message: str) -> None:
    """A name or option that torchvision does not know is refused with its key and the near one, before building."""
    (finding,) = findings({**SMALL, **changed})
    assert (finding.key, finding.near) == (key, near)
    assert message in finding.message


def test_errors_of_all_steps_at_once(tmp_path: Path) -> None:
    """Wrong model, key and parameter in a file are one error with three places."""
    file = tmp_path / "model.yaml"
    file.write_text("model: ssd300_vgg\nnum_clases: 4\nlosses: {ssd: {name: smooth_l1, bta: 1}}\n")
    assert [(f.line, f.column, f.near) for f in findings(file)] == [
        (1, 8, "ssd300_vgg16"),
        (2, 1, "num_classes"),
        (3, 33, "beta"),
    ]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("fasterrcnn_resnet50_fpn", {"box_fg_iou_thresh": 0.1, "box_bg_iou_thresh": 0.9}, "low_threshold should be"),
        ("ssd300_vgg16", {"positive_fraction": 0}, "division by zero"),
        ("keypointrcnn_resnet50_fpn", {"num_keypoints": -3}, "negative dimension"),
        ("fasterrcnn_resnet50_fpn", {"rpn_fg_iou_thresh": [1, 2]}, "not supported between"),
    ],
)
def test_options_that_no_model_can_be_built_with(model: str, options: Any, message: str) -> None:
    """Whatever torchvision raises for its options is a finding of the config, beside the others."""
    noted = {f.key: f.message for f in findings({"model": model, "options": options, "losses": {"fcos": "giou"}})}
    assert noted.keys() == {"options", "losses.fcos"}
    assert noted["options"].startswith(f"{model} cannot be built with these: ")
    assert message in noted["options"]


@pytest.mark.parametrize("options", [{"min_sise": 64}, {"min_size": "64"}, 3])
def test_heads_beside_wrong_options(options: Any) -> None:
    """Which heads a model has is told whatever its options are."""
    noted = {f.key: f for f in findings({**SMALL, "options": options, "losses": {"retinanet": "giou", "rpn": "giou"}})}
    assert any(key.startswith("options") for key in noted)
    assert "has no head 'retinanet'" in noted["losses.retinanet"].message
    assert "losses.rpn" not in noted


@pytest.mark.parametrize(("option", "value"), [("trainable_backbone_layers", 9), ("image_mean", [0.5, 0.5])])
@imagenet
def test_values_that_torchvision_refuses(option: str, value: Any) -> None:
    """A value out of torchvision's range is a config error; one that only its forward sees is torchvision's own."""
    config = {**SMALL, "weights_backbone": IMAGENET, "options": {option: value}}
    if option == "image_mean":
        assert build_model(config).transform.image_mean == value
        return
    with pytest.raises(ConfigError, match="range"):
        build_model(config)


def test_options_reach_the_model() -> None:
    """Options reach the builder, the model's class and, through `**kwargs`, its transform."""
    options = {"min_size": [96, 128], "max_size": 256, "box_score_thresh": 0.3, "size_divisible": 64}
    model = build_model({**SMALL, "options": options})
    assert model.transform.min_size == [96, 128]
    assert (model.transform.max_size, model.transform.size_divisible) == (256, 64)
    assert model.roi_heads.score_thresh == 0.3


@pytest.mark.parametrize("name", BUILDERS)
def test_accepted_options_are_accepted(name: str) -> None:
    """Each option that is offered for a builder is one that the builder takes."""
    architecture = find_architecture(name, None)
    offered = accepted_options(architecture)
    # SSDs give their transform a fixed size themselves.
    given = {key: 3 for key in ("detections_per_img", "box_detections_per_img", "topk_candidates") if key in offered}
    assert given
    with torch.device("meta"):
        model = architecture.build(**given)
    owner = model.roi_heads if "box_detections_per_img" in given else model
    assert owner.detections_per_img == 3


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
