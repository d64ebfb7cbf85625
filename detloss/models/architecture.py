"""The detectors of torchvision: builders, backbones and options."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torchvision
from torch import nn
from torchvision.models import WeightsEnum, get_model_builder, get_model_weights, list_models
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import (
    BackboneWithFPN,
    mobilenet_backbone,
    resnet_fpn_backbone,
)
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from detloss.config import ModelConfig
from detloss.models import tiny

TRAINABLE = "trainable_backbone_layers"
"""The option for the number of unfrozen layers of a pretrained backbone."""

REFUSALS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""What torchvision raises if a model cannot be built with its options."""

FPN_MODELS: Mapping[str, type[FasterRCNN]] = {"fasterrcnn": FasterRCNN, "maskrcnn": MaskRCNN}
"""Models that take a `backbone`."""

TINY = "tiny"
"""detloss's own backbone, for small images on a CPU; all others are torchvision's."""

# Parameters of builders that take modules or functions, or that the builder decides: not plain data.
MODULE_OPTIONS = frozenset({
    "anchor_generator", "box_head", "box_predictor", "box_roi_pool", "head", "keypoint_head", "keypoint_predictor",
    "keypoint_roi_pool", "mask_head", "mask_predictor", "mask_roi_pool", "norm_layer", "proposal_matcher",
    "rpn_anchor_generator", "rpn_head", "size",
})  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """How a detector is built.

    Attributes:
        build: Takes ``weights``, ``weights_backbone`` (members of the enums below or None) and options.
        cls: The class of the detector.
        weights: Torchvision's weights of the detector, or None.
        backbone: Torchvision's name of the backbone's classifier, or `TINY`.
        backbone_weights: Torchvision's weights of the backbone, or None.
    """

    build: Callable[..., nn.Module]
    cls: type[nn.Module]
    weights: type[WeightsEnum] | None
    backbone: str
    backbone_weights: type[WeightsEnum] | None


def find_architecture(model: str, backbone: str | None) -> Architecture:
    """Return the architecture of a known model and backbone."""
    if backbone is not None:
        cls = FPN_MODELS[model]
        if backbone == TINY:
            return Architecture(partial(_with_tiny, cls), cls, None, backbone, None)
        return Architecture(partial(_with_fpn, cls, backbone), cls, None, backbone, get_model_weights(backbone))
    builder = get_model_builder(model)
    signature = inspect.signature(builder)
    enum = next(iter(get_args(signature.parameters["weights_backbone"].annotation)))
    return Architecture(
        partial(builder, progress=False, weights_backbone=None),
        signature.return_annotation,
        get_model_weights(model),
        enum.__name__.removesuffix("_Weights").lower(),
        enum,
    )


def detectors() -> list[str]:
    """Return the detection builders, and the models that take a backbone."""
    return [*FPN_MODELS, *list_models(module=torchvision.models.detection)]


def backbones() -> list[str]:
    """Return `TINY` and torchvision's classifiers that an FPN fits on."""
    names = list_models(module=torchvision.models)
    return [TINY, *(name for name in names if get_model_builder(name).__module__.rpartition(".")[2] in _FPN_FAMILIES)]


def accepted_options(architecture: Architecture) -> dict[str, Any]:
    """Return the options of an architecture with their defaults.

    Options are followed through ``**kwargs``, as torchvision does.
    """
    chain: list[Callable[..., Any]] = [architecture.build]
    chain += [vars(cls)["__init__"] for cls in architecture.cls.__mro__ if "__init__" in vars(cls)]
    accepted: dict[str, Any] = {}
    for function in chain:
        parameters = list(inspect.signature(function).parameters.values())
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break  # a torchvision detector passes the rest to its transform
        accepted = {parameter.name: parameter.default for parameter in parameters} | accepted
    accepted = {p.name: p.default for p in inspect.signature(GeneralizedRCNNTransform).parameters.values()} | accepted
    hidden = {"self", "args", "kwargs", "progress", *ModelConfig.model_fields, *MODULE_OPTIONS}
    return {name: default for name, default in accepted.items() if name not in hidden}


_FPN_FAMILIES = {"resnet", "mobilenetv2", "mobilenetv3"}


def _with_fpn(
    cls: type[FasterRCNN],
    backbone: str,
    *,
    weights: Any = None,
    weights_backbone: WeightsEnum | None = None,
    num_classes: int | None = None,
    trainable_backbone_layers: int | None = None,
    **options: Any,
) -> nn.Module:
    """Build a detector on a backbone with FPN, as torchvision does.

    Norms are frozen if the backbone is pretrained.
    """
    is_mobilenet = backbone.startswith("mobilenet")
    trained = weights is not None or weights_backbone is not None
    default = 3 if trained else 6 if is_mobilenet else 5  # random layers are not frozen
    layers = default if trainable_backbone_layers is None else trainable_backbone_layers
    norm = FrozenBatchNorm2d if trained else nn.BatchNorm2d
    common = {"backbone_name": backbone, "weights": weights_backbone, "norm_layer": norm, "trainable_layers": layers}
    body: BackboneWithFPN
    if is_mobilenet:
        body = mobilenet_backbone(fpn=True, returned_layers=list(MOBILENET_STAGES), **common)
        maps = [str(i) for i in range(len(MOBILENET_STAGES))]
        options["rpn_anchor_generator"] = AnchorGenerator(_MOBILENET_ANCHORS, ((0.5, 1.0, 2.0),) * 4)
        options["box_roi_pool"] = MultiScaleRoIAlign(maps, output_size=7, sampling_ratio=2)
        if cls is MaskRCNN:
            options["mask_roi_pool"] = MultiScaleRoIAlign(maps, output_size=14, sampling_ratio=2)
    else:
        body = resnet_fpn_backbone(**common)
    return _with_weights(cls(body, num_classes=91 if num_classes is None else num_classes, **options), weights)


def _with_tiny(
    cls: type[FasterRCNN], *, weights: Any = None, num_classes: int | None = None, **options: Any
) -> nn.Module:
    """Build a detector on the backbone `tiny`.

    Norms are frozen if it is pretrained, as on the other backbones.
    """
    body = tiny.TinyBackbone(FrozenBatchNorm2d if weights is not None else nn.BatchNorm2d)
    options["rpn_anchor_generator"] = AnchorGenerator(*tiny.ANCHORS)
    options["box_roi_pool"] = MultiScaleRoIAlign(["0"], output_size=tiny.POOLED, sampling_ratio=1)
    options["box_head"] = TwoMLPHead(body.out_channels * tiny.POOLED**2, tiny.HIDDEN)
    classes = 91 if num_classes is None else num_classes
    model = cls(body, num_classes=classes, **options)
    # Passed with the others, it would leave a Mask R-CNN without the number of classes.
    model.roi_heads.box_predictor = FastRCNNPredictor(tiny.HIDDEN, classes)
    return _with_weights(model, weights)


def _with_weights(model: nn.Module, weights: Any) -> nn.Module:
    if weights is not None:
        model.load_state_dict(weights.get_state_dict())
    return model


# The stages of stride 8, 16 and 32; torchvision's default gives two maps of stride 32.
MOBILENET_STAGES = (2, 3, 4)
# One size a map, four times the stride, for small images. The pooled map of stride 64 is included.
_MOBILENET_ANCHORS = ((32,), (64,), (128,), (256,))
