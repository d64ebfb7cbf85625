"""Small models with random weights: the examples of the heads."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from detloss.heads.base import Example

SIZE = (64, 96)
"""Height and width in pixels of the images."""
_COMMON: dict[str, Any] = {"num_labels": 3, "auxiliary_loss": True}
_TRANSFORMER: dict[str, Any] = {
    "num_queries": 12,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}
_VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "out_indices": [1, 2],
}
_STAGES: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}


def example(build: Callable[[], nn.Module], entry: str) -> Example:
    """Return the example of a head.

    It is in float64 if the model runs in that. Gradients of random weights are large, and rounding grows with them.
    """
    stock = {"loss_giou": "giou", "loss_bbox": "l1"}[entry]
    return Example(build if build in _ONLY_FLOAT32 else lambda: build().double(), _step, entry, stock)


def conditional_detr() -> Any:
    """Return a small Conditional DETR."""
    config = transformers.ConditionalDetrConfig(**_resnet(), **_TRANSFORMER, **_COMMON, d_model=32)
    return transformers.ConditionalDetrForObjectDetection(config)


def d_fine() -> Any:
    """Return a small D-FINE."""
    return transformers.DFineForObjectDetection(transformers.DFineConfig(**_real_time()))


def dab_detr() -> Any:
    """Return a small DAB-DETR."""
    config = transformers.DabDetrConfig(**_resnet(), **_TRANSFORMER, **_COMMON, hidden_size=32)
    return transformers.DabDetrForObjectDetection(config)


def deformable_detr() -> Any:
    """Return a small Deformable DETR."""
    levels = {"num_feature_levels": 2, "with_box_refine": True, "disable_custom_kernels": True}
    config = transformers.DeformableDetrConfig(
        **_resnet("stage3", "stage4"), **_TRANSFORMER, **_COMMON, **levels, d_model=32
    )
    return transformers.DeformableDetrForObjectDetection(config)


def detr() -> Any:
    """Return a small DETR."""
    config = transformers.DetrConfig(**_resnet(), **_TRANSFORMER, **_COMMON, d_model=32)
    return transformers.DetrForObjectDetection(config)


def lw_detr() -> Any:
    """Return a small LW-DETR."""
    backbone = transformers.LwDetrViTConfig(**_VIT, num_windows=4, window_block_indices=[0])
    config = transformers.LwDetrConfig(backbone_config=backbone, projector_scale_factors=[1.0], **_light())
    return transformers.LwDetrForObjectDetection(config)


def rf_detr() -> Any:
    """Return a small RF-DETR."""
    backbone = transformers.RfDetrDinov2Config(**_VIT, num_windows=2)
    config = transformers.RfDetrConfig(backbone_config=backbone, **_light())
    return transformers.RfDetrForObjectDetection(config)


def rt_detr() -> Any:
    """Return a small RT-DETR."""
    return transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(**_real_time()))


def rt_detr_v2() -> Any:
    """Return a small RT-DETRv2."""
    return transformers.RTDetrV2ForObjectDetection(transformers.RTDetrV2Config(**_real_time()))


def table_transformer() -> Any:
    """Return a small Table Transformer."""
    config = transformers.TableTransformerConfig(**_resnet(), **_TRANSFORMER, **_COMMON, d_model=32)
    return transformers.TableTransformerForObjectDetection(config)


def yolos() -> Any:
    """Return a small YOLOS."""
    config = transformers.YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=SIZE,
        num_detection_tokens=12,
        num_labels=3,  # with auxiliary_loss its forward pass fails, with and without losses of detloss
    )
    return transformers.YolosForObjectDetection(config)


def labels(model: nn.Module, *, objects: bool = True) -> list[dict[str, Tensor]]:
    """Return the boxes of two images, in shares of each image."""
    weight = next(model.parameters())
    boxes = weight.new_tensor([[0.3, 0.4, 0.4, 0.3], [0.6, 0.6, 0.3, 0.5], [0.5, 0.3, 0.6, 0.4]])
    classes = torch.tensor([0, 1, 2], device=weight.device)
    if not objects:
        boxes, classes = boxes[:0], classes[:0]
    return [{"boxes": boxes[at], "class_labels": classes[at]} for at in (slice(0, 2), slice(2, None))]


def pixels(model: Any) -> Tensor:
    """Return two random images."""
    weight = next(model.parameters())
    square = getattr(getattr(model.config, "backbone_config", None), "image_size", None)
    return torch.rand(2, 3, *((square, square) if square else SIZE), device=weight.device, dtype=weight.dtype)


def _step(model: nn.Module, objects: bool) -> tuple[Mapping[str, Tensor], Tensor]:
    output: Any = model(pixel_values=pixels(model), labels=labels(model, objects=objects))
    return output.loss_dict, output.loss


def _resnet(*stages: str) -> dict[str, Any]:
    config = transformers.ResNetConfig(**_STAGES, layer_type="basic", out_features=list(stages or ("stage4",)))
    return {"backbone_config": config, "use_timm_backbone": False}


def _real_time() -> dict[str, Any]:
    stages = ["stage2", "stage3", "stage4"]
    return {
        **_TRANSFORMER,
        **_COMMON,
        "backbone_config": transformers.RTDetrResNetConfig(**_STAGES, layer_type="basic", out_features=stages),
        "d_model": 32,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [12, 16, 24],
        "decoder_in_channels": [32, 32, 32],
        "num_denoising": 4,
    }


def _light() -> dict[str, Any]:
    return {
        **_COMMON,
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_ffn_dim": 32,
        "decoder_self_attention_heads": 2,
        "decoder_cross_attention_heads": 2,
        "num_queries": 12,
        "group_detr": 2,
    }


_ONLY_FLOAT32 = (d_fine, dab_detr, detr, table_transformer, yolos)
"""Models that make float32 tensors on their way."""
