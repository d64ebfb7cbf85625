"""Each head's own loss, injected explicitly, is torchvision's, on torchvision's real builders.

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
    "fasterrcnn_mobilenet_v3_large_fpn": RCNN,
    "fasterrcnn_mobilenet_v3_large_320_fpn": RCNN,
    "fasterrcnn_resnet50_fpn": RCNN,
    "fasterrcnn_resnet50_fpn_v2": RCNN,
    "maskrcnn_resnet50_fpn": RCNN,
    "maskrcnn_resnet50_fpn_v2": RCNN,
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


def build(name: str) -> nn.Module:
    """The builder's detector with random weights, for small images where it allows."""
    torch.manual_seed(0)
    small = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 96}
    keypoints = {"num_keypoints": 3} if name.startswith("keypoint") else {}
    return get_model(name, weights=None, weights_backbone=None, num_classes=4, **small, **keypoints).double()


def doubled(counts: tuple[int, ...]) -> tuple[list[Tensor], list[Target]]:
    """A batch in float64; torchvision wants keypoints in float32."""
    images, targets = batch(counts=counts)
    for target in targets:
        target["boxes"] = target["boxes"].double()
    return [image.double() for image in images], targets


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("counts", [(3, 0), (0, 0)], ids=["an image without objects", "no object at all"])
def test_the_stock_loss_injected_gives_torchvisions_losses_and_gradients(builder: str, counts: tuple[int, ...]) -> None:
    """Every loss of the detector and every gradient agrees within 1e-6."""
    if builder.startswith("keypoint") and counts == (0, 0):
        counts = (0, 1)  # torchvision's own keypoint loss cannot be computed without a keypoint
    stock = build(builder)
    model = inject(copy.deepcopy(stock), STOCK[builder])
    data = doubled(counts)
    expected, found = step(stock, data), step(model, data)
    assert expected.keys() == found.keys()
    replaced = {BOX_LOSS.get(head, "bbox_regression") for head in STOCK[builder]}
    for name, value in expected.items():
        if name in replaced:
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
            assert (value > 0) == (sum(counts) > 0)
        else:
            assert torch.equal(found[name], value), name
    gradient = gradients(model, found)
    for name, value in gradients(stock, expected).items():
        torch.testing.assert_close(gradient[name], value, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("builder", BUILDERS)
def test_another_loss_changes_the_box_loss_alone_and_eject_undoes_it(builder: str) -> None:
    """Another loss changes the box losses, leaves the rest and the checkpoint keys, and eject gives the class back."""
    stock = build(builder)
    model = copy.deepcopy(stock)
    inject(model, {head: {"name": "diou", "weight": 3} for head in STOCK[builder]})
    assert list(model.state_dict()) == list(stock.state_dict())
    data = doubled((2, 1))
    expected, found = step(stock, data), step(model, data)
    replaced = {BOX_LOSS.get(head, "bbox_regression") for head in STOCK[builder]}
    assert {name for name in expected if not torch.equal(expected[name], found[name])} == replaced
    other = step(copy.deepcopy(model), data)
    assert all(torch.equal(found[name], other[name]) for name in found)
    eject(model)
    assert not injected(model)
    assert [type(module) for module in model.modules()] == [type(module) for module in stock.modules()]
    back = step(model, data)
    assert all(torch.equal(expected[name], back[name]) for name in expected)
