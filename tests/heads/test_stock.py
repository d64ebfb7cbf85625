"""Each head's own loss, injected explicitly, is torchvision's, on torchvision's real builders.

The three that are not here are made of the same parts in other sizes: of Faster R-CNN on ResNet-50 and on the larger
images of MobileNet, and of the second Mask R-CNN.

They run in float64: with random weights a deep backbone blows float32's rounding of a loss up to more than 1e-6 of a
gradient, also between two runs of torchvision itself that differ in the order of a sum.
"""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_detectors import Target, batch, gradients, step
from torch import Tensor, nn
from torchvision.models import get_model

from detloss import eject, inject, injected

SMOOTH_L1 = {"name": "smooth_l1", "beta": 1 / 9, "weight": 1}
RCNN = {"roi_heads": SMOOTH_L1, "rpn": SMOOTH_L1}
GIOU = {"name": "giou", "weight": 1}
STOCK = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": RCNN,
    "fasterrcnn_resnet50_fpn_v2": RCNN,
    "maskrcnn_resnet50_fpn": RCNN,
    "keypointrcnn_resnet50_fpn": RCNN,
    "retinanet_resnet50_fpn": {"retinanet": {"name": "l1", "weight": 1}},
    "retinanet_resnet50_fpn_v2": {"retinanet": GIOU},
    "fcos_resnet50_fpn": {"fcos": GIOU},
    "ssd300_vgg16": {"ssd": {"name": "smooth_l1", "beta": 1.0, "weight": 1}},
    "ssdlite320_mobilenet_v3_large": {"ssd": {"name": "smooth_l1", "beta": 1.0, "weight": 1}},
}
BOX_LOSS = {"roi_heads": "loss_box_reg", "rpn": "loss_rpn_box_reg"}
BUILDERS = [
    name if name == "ssdlite320_mobilenet_v3_large" else pytest.param(name, marks=pytest.mark.slow) for name in STOCK
]


# Most of the time goes to proposals and to the gradients of the backbone: the light builders have all of them.
LIGHT = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large")
FEW_PROPOSALS = {"rpn_post_nms_top_n_train": 50, "box_batch_size_per_image": 8}
COUNTS = {
    "keypointrcnn_resnet50_fpn": ((0, 1),),  # torchvision's own loss cannot be computed without a keypoint
    "ssd300_vgg16": ((3,),),  # its images are large; SSDlite is an SSD with two batches
}
"""How many objects the images of two batches have, where it is not (0, 0) and (3, 0)."""


def build(name: str) -> nn.Module:
    """The builder's detector with random weights, for small images where it allows."""
    torch.manual_seed(0)
    small = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 96}
    proposals = FEW_PROPOSALS if "rcnn" in name and name not in LIGHT else {}
    keypoints = {"num_keypoints": 3} if name.startswith("keypoint") else {}
    options = small | proposals | keypoints
    model = get_model(name, weights=None, weights_backbone=None, num_classes=4, **options).double()
    if name not in LIGHT:
        # The feature pyramid or the extra layers of SSD, which are trained, lie between it and the heads.
        (model.backbone.features if name.startswith("ssd") else model.backbone.body).requires_grad_(False)
    return model


def doubled(counts: tuple[int, ...]) -> tuple[list[Tensor], list[Target]]:
    """A batch in float64; torchvision wants keypoints in float32."""
    images, targets = batch(counts=counts)
    for target in targets:
        target["boxes"] = target["boxes"].double()
    return [image.double() for image in images], targets


@pytest.mark.parametrize("builder", BUILDERS)
def test_on_each_builder_losses_go_in_and_out_and_the_stock_one_changes_nothing(builder: str) -> None:
    """With the stock loss injected every loss and gradient agrees within 1e-6, also where no image has an object.

    Another loss changes the box losses alone and no key of a checkpoint, and eject gives class and losses back.
    """
    stock = build(builder)
    model = inject(copy.deepcopy(stock), STOCK[builder])
    replaced = {BOX_LOSS.get(head, "bbox_regression") for head in STOCK[builder]}
    for counts in COUNTS.get(builder, ((0, 0), (3, 0))):
        data = doubled(counts)
        expected, found = step(stock, data), step(model, data)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            if name in replaced:
                torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
                assert (value > 0) == (sum(counts) > 0)
            else:
                assert torch.equal(found[name], value), name
        gradient = gradients(model, found)
        for name, value in gradients(stock, expected).items():
            torch.testing.assert_close(gradient[name], value, rtol=1e-6, atol=1e-6, msg=name)
    inject(model, {head: {"name": "diou", "weight": 3} for head in STOCK[builder]})
    assert list(model.state_dict()) == list(stock.state_dict())
    found = step(model, data)
    assert {name for name in expected if not torch.equal(expected[name], found[name])} == replaced
    eject(model)
    assert not injected(model)
    assert [type(module) for module in model.modules()] == [type(module) for module in stock.modules()]
    back = step(model, data)
    assert all(torch.equal(expected[name], back[name]) for name in expected)
