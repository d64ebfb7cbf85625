from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_models import IMAGENET, SMALL, imagenet

from detloss import ConfigError, build_model
from detloss.errors import Finding


def findings(config: Any) -> list[Finding]:
    with pytest.raises(ConfigError) as caught:
        build_model(config)
    return list(caught.value.findings)


@pytest.mark.parametrize(
    ("changed", "key", "near", "message"),
    [
        ({"model": "fasterrcnn_resnet50_fnp", "backbone": None}, "model", "fasterrcnn_resnet50_fpn", "not a detector"),
        ({"backbone": None}, "model", None, "needs a backbone. There are: tiny, mobilenet_v2"),
        ({"backbone": "mobilnet_v2"}, "backbone", "mobilenet_v2", "not a backbone with FPN"),
        ({"backbone": "vit_b_16"}, "backbone", None, "not a backbone with FPN"),
        ({"model": "ssd300_vgg16"}, "backbone", None, "has its own backbone"),
        ({"weights": "DEFAULT"}, "weights", None, "give a path"),
        ({"weights": "nowhere/a.pth"}, "weights", None, "the file 'nowhere/a.pth' does not exist"),
        ({"weights_backbone": "IMAGENET1K_V3"}, "weights_backbone", "IMAGENET1K_V2", "unknown weights"),
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
        ({"options": {"num_classes": 3}}, "options.num_classes", None, "at the top level of the config"),
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
    assert noted["options"].startswith(f"{model} cannot be built with these options: ")
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
