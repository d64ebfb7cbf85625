"""Small detectors of torchvision: the examples of its heads."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from detloss.heads.example import Example

SIZE = 64
"""Side in pixels of the images that the detectors see."""


def example(build: Callable[[], nn.Module], replaced: str, stock: str | Mapping[str, object]) -> Example:
    """Return an example of a head of torchvision, in float64."""
    return Example(lambda: build().double(), _step, replaced, stock)


def faster_rcnn() -> FasterRCNN:
    """Return a Faster R-CNN that samples few proposals."""
    return FasterRCNN(
        _backbone(8),
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(((16, 24, 32),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(featmap_names=["0"], output_size=4, sampling_ratio=2),
        rpn_post_nms_top_n_train=50,
        box_batch_size_per_image=32,
        min_size=SIZE,
        max_size=SIZE,
    )


def retinanet() -> RetinaNet:
    """Return a RetinaNet of one level."""
    anchors = AnchorGenerator(((16, 24, 32),), ((0.5, 1.0, 2.0),))
    return RetinaNet(_backbone(8), num_classes=3, anchor_generator=anchors, min_size=SIZE, max_size=SIZE)


def fcos() -> FCOS:
    """Return an FCOS whose first boxes have an area."""
    # At distances of 0 gradients are arbitrary.
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    model = FCOS(_backbone(32), num_classes=3, anchor_generator=anchors, min_size=SIZE, max_size=SIZE)
    nn.init.ones_(model.head.regression_head.bbox_reg.bias)
    return model


def ssd() -> SSD:
    """Return an SSD of one feature map."""
    boxes = DefaultBoxGenerator([[2]], scales=[0.3, 0.6])
    backbone = _backbone(8)
    backbone.out_channels = [8]  # type: ignore[assignment]  # one for each feature map
    return SSD(backbone, boxes, (SIZE, SIZE), num_classes=3)


def images() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return two images of light rectangles, with their boxes."""
    found, targets = [], []
    for boxes in (((6, 8, 30, 28), (36, 30, 58, 60)), ((20, 10, 44, 40),)):
        image = torch.full((3, SIZE, SIZE), 0.1)
        for x1, y1, x2, y2 in boxes:
            image[:, y1:y2, x1:x2] = 0.9
        found.append(image)
        targets.append({"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.ones(len(boxes)).long()})
    return found, targets


def _backbone(channels: int) -> nn.Module:
    convolution = partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
    backbone = nn.Sequential(convolution(3, 8), nn.ReLU(), convolution(8, channels), nn.ReLU())
    backbone.out_channels = channels  # type: ignore[assignment]  # what torchvision reads, and torch types as a module
    return backbone


def _step(model: nn.Module, objects: bool) -> tuple[Mapping[str, Tensor], Tensor]:
    found, targets = images()
    for target in targets:
        target["boxes"] = target["boxes"].double()
        if not objects:
            target.update(boxes=target["boxes"][:0], labels=target["labels"][:0])
    losses: dict[str, Tensor] = model([image.double() for image in found], targets)
    return losses, torch.stack([*losses.values()]).sum()
