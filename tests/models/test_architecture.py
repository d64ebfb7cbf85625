from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import BUILDERS, IMAGENET, SMALL, differing, imagenet, losses_of, saved

from detloss import ConfigError, build_model
from detloss.models.architecture import accepted_options, find_architecture


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


@pytest.mark.parametrize(("model", "weights"), [("fasterrcnn", 0.51e6), ("maskrcnn", 2.69e6)])
def test_the_backbone_tiny(model: str, weights: float, tmp_path: Path) -> None:
    """`tiny` gives one map of stride 8, finite losses, and detections; its weights come back from a file."""
    config = {**SMALL, "model": model, "backbone": "tiny", "num_classes": 4}
    detector = build_model(config)
    assert sum(parameter.numel() for parameter in detector.parameters()) == pytest.approx(weights, rel=0.01)
    assert detector.backbone(torch.rand(1, 3, 96, 100)).shape == (1, 64, 12, 13)
    masks = {"masks": torch.ones(1, 64, 64)} if model == "maskrcnn" else {}
    assert all(torch.isfinite(loss) for loss in losses_of(detector, **masks).values())
    assert set(detector.eval()([torch.rand(3, 50, 70)])[0]) == {"boxes", "labels", "scores", *masks}
    again = build_model({**config, "weights": saved(detector, tmp_path)})
    assert differing(detector.state_dict(), again.state_dict()) == set()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in again.backbone.modules())


def test_the_backbone_tiny_has_no_weights_of_a_classifier() -> None:
    """`weights_backbone` on `tiny` is an error that says what there is instead."""
    with pytest.raises(ConfigError, match=r"no weights for the backbone tiny\. Fix: give `weights` of a whole"):
        build_model({**SMALL, "backbone": "tiny", "num_classes": 4, "weights_backbone": str(IMAGENET)})


@imagenet
@pytest.mark.parametrize(("layers", "first_trained"), [(0, 19), (1, 18), (6, 0)])
def test_trainable_layers(layers: int, first_trained: int) -> None:
    """`trainable_backbone_layers` decides which blocks of a pretrained backbone train (MobileNetV2 has 19)."""
    options = {**SMALL["options"], "trainable_backbone_layers": layers}
    model = build_model({**SMALL, "num_classes": 4, "weights_backbone": IMAGENET, "options": options})
    trained = {int(name.partition(".")[0]) for name, p in model.backbone.body.named_parameters() if p.requires_grad}
    blocks = {int(name.partition(".")[0]) for name, _ in model.backbone.body.named_parameters()}
    assert trained == {block for block in blocks if block >= first_trained}


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
