"""The Python code that builds a config's detector with torchvision only."""

import inspect
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from detloss.config import ModelConfig
from detloss.models import tiny
from detloss.models.architecture import MOBILENET_STAGES, TINY, TRAINABLE, find_architecture

_WIDTH = 100
"""Columns of the code, if a call fits."""


def torchvision_code(config: ModelConfig, model: nn.Module) -> str:
    """Write the code that builds a detector and binds it to ``model``.

    It needs only torch and torchvision. The detector takes the state dict of `model` (without the state of injected
    losses), and gives the same detections in evaluation mode. No layer is frozen except the norms of a chosen backbone.

    Args:
        config: Names the builder; its weights are not loaded.
        model: The model that was built from it: anchors, poolers and norms are read from it.
    """
    options = {key: value for key, value in config.options.items() if key != TRAINABLE}
    classes = config.num_classes if config.num_classes is not None or config.backbone is None else 91
    if classes is not None:
        options = {"num_classes": classes, **options}
    if config.backbone is None:
        imports = [("torchvision.models.detection", config.model)]
        call = _call("model", config.model, _written({"weights": None, "weights_backbone": None, **options}))
        return _module(imports, [*call, *_eps(model)])
    cls = find_architecture(config.model, config.backbone).cls
    imports, code, parts = _backbone(config.backbone, model)
    imports.append(("torchvision.models.detection", cls.__name__))
    code += _call("model", cls.__name__, ["backbone", *_written(options), *parts])
    if config.backbone == TINY:
        # As an argument, it would leave a Mask R-CNN without the number of classes.
        width = _box_head(model).fc7.out_features
        imports.append(("torchvision.models.detection.faster_rcnn", "FastRCNNPredictor"))
        code.append(f"model.roi_heads.box_predictor = FastRCNNPredictor({width}, {classes})")
    return _module(imports, code)


_Import = tuple[str, str]


def _backbone(name: str, model: nn.Module) -> tuple[list[_Import], list[str], list[str]]:
    """The imports and code of a backbone, and the detector's arguments."""
    frozen = any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    norm = "FrozenBatchNorm2d" if frozen else "BatchNorm2d"
    imports = [("torchvision.ops" if frozen else "torch.nn", norm)]
    if name == TINY:
        head = _box_head(model)
        imports += [*_TINY_IMPORTS, *_PARTS, ("torchvision.models.detection.faster_rcnn", "TwoMLPHead")]
        source = inspect.getsource(tiny.TinyBackbone).rstrip().splitlines()
        head_code = f"box_head=TwoMLPHead({head.fc6.in_features}, {head.fc6.out_features})"
        return imports, ["", *source, "", "", f"backbone = TinyBackbone({norm})"], [*_parts(model), head_code]
    is_mobilenet = name.startswith("mobilenet")
    function = "mobilenet_backbone" if is_mobilenet else "resnet_fpn_backbone"
    imports += [("torchvision.models.detection.backbone_utils", function), *(_PARTS if is_mobilenet else ())]
    arguments: dict[str, Any] = {"backbone_name": name, "weights": None}
    if is_mobilenet:
        arguments |= {"fpn": True, "returned_layers": list(MOBILENET_STAGES)}
    arguments["trainable_layers"] = 6 if is_mobilenet else 5  # all of them
    call = _call("backbone", function, [*_written(arguments), f"norm_layer={norm}"])
    return imports, call, _parts(model) if is_mobilenet else []


def _parts(model: nn.Module) -> list[str]:
    """Anchors and poolers of a model, as arguments of its class."""
    anchors: Any = model.get_submodule("rpn.anchor_generator")
    ratios = anchors.aspect_ratios
    same = f"({ratios[0]!r},)" + (f" * {len(ratios)}" if len(ratios) > 1 else "")
    shown = same if set(ratios) == {ratios[0]} else repr(ratios)
    poolers: dict[str, Any] = {"box_roi_pool": model.get_submodule("roi_heads.box_roi_pool")}
    if isinstance(model, MaskRCNN):
        poolers["mask_roi_pool"] = model.get_submodule("roi_heads.mask_roi_pool")
    return [
        f"rpn_anchor_generator=AnchorGenerator({anchors.sizes!r}, {shown})",
        *(f"{name}={_pooler(pool)}" for name, pool in poolers.items()),
    ]


def _pooler(pool: MultiScaleRoIAlign) -> str:
    maps = ", ".join(map(_literal, pool.featmap_names))
    return f"MultiScaleRoIAlign([{maps}], output_size={pool.output_size[0]}, sampling_ratio={pool.sampling_ratio})"


def _box_head(model: nn.Module) -> Any:
    return model.get_submodule("roi_heads.box_head")


def _eps(model: nn.Module) -> list[str]:
    """Set the eps that the weights were trained with, if unusual."""
    frozen = {module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)}
    if len(frozen) != 1 or frozen == {FrozenBatchNorm2d(1).eps}:
        return []
    return [
        "for module in model.modules():  # as in the initial weights of the training",
        '    if type(module).__name__ == "BatchNorm2d":',
        f"        module.eps = {frozen.pop()!r}",
    ]


def _written(options: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_literal(value)}" for key, value in options.items()]


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _call(name: str, function: str, arguments: Iterable[str]) -> list[str]:
    arguments = list(arguments)
    line = f"{name} = {function}({', '.join(arguments)})"
    return [line] if len(line) <= _WIDTH else [f"{name} = {function}(", *(f"    {one}," for one in arguments), ")"]


def _module(imports: Iterable[_Import], code: Iterable[str]) -> str:
    lines = [
        f"from {module} import {', '.join(name for _, name in names)}"
        for module, names in groupby(sorted(set(imports)), key=lambda one: one[0])
    ]
    return "\n".join([*lines, "", *code]) + "\n"


_PARTS = (("torchvision.models.detection.anchor_utils", "AnchorGenerator"), ("torchvision.ops", "MultiScaleRoIAlign"))
_TINY_IMPORTS = (
    ("collections.abc", "Callable"),
    ("torch", "Tensor"),
    ("torch", "nn"),
    ("torch.nn", "functional"),
    ("torchvision.ops", "Conv2dNormActivation"),
)
"""What the source of the backbone `tiny` needs."""
