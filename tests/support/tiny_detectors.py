"""Torchvision's own detectors on a backbone of two convolutions, and small batches for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

NUM_CLASSES = 4
NUM_KEYPOINTS = 3
SIZE = (64, 96)

Target = dict[str, Tensor]


def backbone(channels: int = 8) -> nn.Module:
    """One feature map of stride 4."""
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, channels, 3, stride=2, padding=1), nn.ReLU()
    )
    layers.out_channels = channels
    return layers


def roi_align(size: int) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(featmap_names=["0"], output_size=size, sampling_ratio=2)


def options(**changed: object) -> dict[str, object]:
    return {
        "min_size": SIZE[0],
        "max_size": SIZE[1],
        "rpn_anchor_generator": AnchorGenerator(((8, 16, 32),), ((0.5, 1.0, 2.0),)),
        "box_roi_pool": roi_align(4),
        "rpn_batch_size_per_image": 32,
        "box_batch_size_per_image": 32,
        "box_score_thresh": 0.0,
        "rpn_post_nms_top_n_train": 50,
        "rpn_post_nms_top_n_test": 20,
        "num_classes": NUM_CLASSES,
    } | changed


def faster_rcnn(seed: int = 0, **changed: object) -> FasterRCNN:
    torch.manual_seed(seed)
    return FasterRCNN(backbone(), **options(**changed))


def mask_rcnn(seed: int = 0, **changed: object) -> MaskRCNN:
    torch.manual_seed(seed)
    return MaskRCNN(backbone(), **options(mask_roi_pool=roi_align(4), **changed))


def keypoint_rcnn(seed: int = 0, **changed: object) -> KeypointRCNN:
    torch.manual_seed(seed)
    changed = {"keypoint_roi_pool": roi_align(4), "num_keypoints": NUM_KEYPOINTS} | changed
    return KeypointRCNN(backbone(), **options(**changed))


def retinanet(seed: int = 0) -> RetinaNet:
    torch.manual_seed(seed)
    anchors = AnchorGenerator(((16, 24, 32),), ((0.5, 1.0, 2.0),))
    size = {"min_size": SIZE[0], "max_size": SIZE[1]}
    return RetinaNet(backbone(), NUM_CLASSES, anchor_generator=anchors, score_thresh=0.0, **size)


def fcos(seed: int = 0) -> FCOS:
    torch.manual_seed(seed)
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    size = {"min_size": SIZE[0], "max_size": SIZE[1]}
    model = FCOS(backbone(32), NUM_CLASSES, anchor_generator=anchors, score_thresh=0.0, **size)
    # Distances of exactly 0 give boxes without area, where gradients are a convention: start at one stride instead.
    nn.init.ones_(model.head.regression_head.bbox_reg.bias)
    return model


def ssd(seed: int = 0) -> SSD:
    torch.manual_seed(seed)
    features = backbone()
    features.out_channels = [features.out_channels]  # one for each feature map
    return SSD(
        features, DefaultBoxGenerator([[2]], scales=[0.3, 0.6]), (SIZE[1], SIZE[0]), NUM_CLASSES, score_thresh=0.0
    )


def detector(head: str, seed: int = 0) -> nn.Module:
    """A detector that has the head."""
    return HEADS[head](seed)


def head_module(model: nn.Module, head: str) -> nn.Module:
    """The module of the detector into which losses for the head are injected."""
    return getattr(model, head) if head in ("roi_heads", "rpn") else model


HEADS = {"roi_heads": faster_rcnn, "rpn": faster_rcnn, "retinanet": retinanet, "fcos": fcos, "ssd": ssd}
BOX_LOSS = {
    "roi_heads": "loss_box_reg",
    "rpn": "loss_rpn_box_reg",
    "retinanet": "bbox_regression",
    "fcos": "bbox_regression",
    "ssd": "bbox_regression",
}
BUILDERS = {"faster": faster_rcnn, "mask": mask_rcnn, "keypoint": keypoint_rcnn}


def batch(seed: int = 0, counts: tuple[int, ...] = (3, 1)) -> tuple[list[Tensor], list[Target]]:
    """Images with so many objects each, with masks and keypoints."""
    generator = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for count in counts:
        height, width = SIZE
        images.append(torch.rand(3, height, width, generator=generator))
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([width * 0.5, height * 0.5])
        extent = 10 + torch.rand(count, 2, generator=generator) * torch.tensor([width * 0.3, height * 0.3])
        boxes = torch.cat([corner, corner + extent], dim=1)
        masks = torch.zeros(count, height, width, dtype=torch.uint8)
        for mask, box in zip(masks, boxes.int().tolist(), strict=True):
            mask[box[1] : box[3], box[0] : box[2]] = 1
        points = corner[:, None] + extent[:, None] * torch.rand(count, NUM_KEYPOINTS, 2, generator=generator)
        targets.append(
            {
                "boxes": boxes,
                "labels": torch.randint(1, NUM_CLASSES, (count,), generator=generator),
                "masks": masks,
                "keypoints": torch.cat([points, torch.ones(count, NUM_KEYPOINTS, 1)], dim=2),
            }
        )
    return images, targets


def step(model: nn.Module, data: tuple[list[Tensor], list[Target]], seed: int = 0) -> dict[str, Tensor]:
    """The losses of one training step with the samplers' random state fixed."""
    model.train()
    torch.manual_seed(seed)
    images, targets = data
    losses: dict[str, Tensor] = model(images, [dict(target) for target in targets])
    return losses


def gradients(model: nn.Module, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    sum(losses.values(), torch.zeros(())).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
