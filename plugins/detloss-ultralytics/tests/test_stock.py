"""The stock loss, injected by name, is that of ultralytics: losses and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_yolos import Batch, apart, step

from detloss import eject, inject, injected

YOLOS = ("yolov8n", "yolov10n", "yolo11n", "yolo12n", "yolo26n")
TWO_BRANCHES = ("yolov10n", "yolo26n")
RTDETR = "yolov8n-rtdetr"


@pytest.mark.parametrize("name", YOLOS)
def test_ciou_is_the_stock_loss_of_yolo(name: str, build: Callable[[str], Any], batch: Batch, empty: Batch) -> None:
    """With ciou every loss of every YOLO is the stock one, with and without objects, and so are the gradients."""
    model = build(name)
    keys = list(model.state_dict())
    stock = [step(model, each) for each in (batch, empty)]
    model.eval()
    judged = model.loss(batch)
    inject(model.train(), {"yolo": "ciou"})
    for (total, items, gradients), each in zip(stock, (batch, empty), strict=True):
        found = step(model, each)
        torch.testing.assert_close(found[0], total, rtol=1e-6, atol=0)
        assert found[1].keys() == items.keys()
        for entry in items:
            torch.testing.assert_close(found[1][entry], items[entry], rtol=1e-6, atol=0)
        assert apart(found[2], gradients) < 5e-6
    assert stock[1][1]["box_loss"] == 0
    model.eval()
    torch.testing.assert_close(model.loss(batch)[0], judged[0], rtol=1e-6, atol=0)
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("name", YOLOS)
def test_every_branch_gets_the_loss(name: str, build: Callable[[str], Any], batch: Batch) -> None:
    """With weight 0 no branch has a box loss, and the others stay as they were; one call has the pairs of all."""
    model = build(name)
    stock = step(model, batch)
    total, items, _ = step(inject(model, {"yolo": {"name": "ciou", "weight": 0}}), batch)
    assert (total[0], items["box_loss"]) == (0, 0)
    assert total[1:].tolist() == stock[0][1:].tolist()
    seen = []
    injected(model)["yolo"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].entries))
    model(batch)
    (entries,) = seen
    assert len(entries) == (2 if name in TWO_BRANCHES else 1)
    assert min(entries) > 0


def test_giou_is_the_stock_loss_of_rtdetr(build: Callable[[str], Any], batch: Batch, empty: Batch) -> None:
    """With giou every loss of RT-DETR is the stock one; so are the gradients of its GIoU terms alone."""
    model = build(RTDETR)
    model.criterion = model.init_criterion()
    stock = []
    for gains in ({"class": 1, "bbox": 5, "giou": 2}, {"class": 0, "bbox": 0, "giou": 2}):
        model.criterion.loss_gain = gains
        stock.append((gains, step(model, batch)))
    inject(model, {"yolo_rtdetr": "giou"})
    for gains, (total, items, gradients) in stock:
        model.criterion.loss_gain = gains
        found = step(model, batch)
        torch.testing.assert_close(found[0], total, rtol=1e-6, atol=0)
        for entry in items:
            torch.testing.assert_close(found[1][entry], items[entry], rtol=1e-6, atol=0)
        assert apart(found[2], gradients) < 5e-6
    total, items, gradients = step(model, empty)
    assert items["giou_loss"] == 0
    assert total.isfinite()
    eject(model)
    assert step(model, empty)[0] == total


def test_rtdetr_calls_a_loss_once_a_step(build: Callable[[str], Any], batch: Batch, empty: Batch) -> None:
    """The pairs of encoder, decoder and denoising are in one call; without objects there is one too."""
    model = inject(build(RTDETR), {"yolo_rtdetr": "wiou"})
    losses = injected(model)["yolo_rtdetr"]
    calls = []
    losses.losses[0].register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    losses.kept = []
    model(batch)
    model(empty)
    layers = 1 + model.model[-1].num_decoder_layers
    denoised = len(losses.kept[0].pred) - 3 * layers
    assert denoised > 0
    assert denoised % (3 * (layers - 1)) == 0, "each of the 3 boxes some times in each layer of the decoder"
    assert calls == [len(losses.kept[0].pred), 0]


@pytest.mark.parametrize(("name", "head"), [("yolo11n", "yolo"), (RTDETR, "yolo_rtdetr")])
def test_a_loss_gets_pixels(name: str, head: str, build: Callable[[str], Any], batch: Batch) -> None:
    """Targets are the boxes in pixels of the network input, with its height and width; deltas are the head's own."""
    model = inject(build(name), {head: ["mpdiou", "l1"]})
    kept = injected(model)[head].kept = []
    total, _ = model(batch)
    total.sum().backward()
    # Image 96 x 64: center (24, 32) and size 24 x 32 are the corners 12, 16, 36, 48; the others likewise.
    corners = {(12, 16, 36, 48), (60, 24, 84, 40), (24, 8, 72, 56)}
    assert {tuple(box) for box in kept[0].target.round(decimals=3).tolist()} == corners
    assert set(map(tuple, kept[0].extras["image_size"].tolist())) == {(64, 96)}
    assert kept[0].pred.abs().max() < 1000
    if head == "yolo_rtdetr":
        assert set(map(tuple, kept[1].target.tolist())) == set(map(tuple, batch["bboxes"].tolist()))
        return
    # Distances in strides: left plus right is the width, top plus bottom the height.
    sizes = (kept[1].target[:, :2] + kept[1].target[:, 2:]).unsqueeze(1) * torch.tensor([8, 16, 32]).view(1, 3, 1)
    expected = kept[0].target[:, 2:] - kept[0].target[:, :2]
    assert (sizes - expected.unsqueeze(1)).abs().amax(2).amin(1).max() < 1e-3


@pytest.mark.parametrize("loss", ["ciou", "mpdiou", "nwd", "wiou", "siou", "smooth_l1"])
@pytest.mark.parametrize(("name", "head"), [("yolo26n", "yolo"), (RTDETR, "yolo_rtdetr")])
def test_losses_train(name: str, head: str, loss: str, build: Callable[[str], Any], batch: Batch) -> None:
    """Losses of every family give finite gradients, other than the stock ones, also in half precision."""
    model = build(name)
    stock = step(model, batch)[2]
    inject(model, {head: {"name": loss, "weight": 3}})
    total, _, gradients = step(model, batch)
    assert total.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert apart(gradients, stock) > 1e-4
    with torch.autocast("cpu", torch.bfloat16):
        assert step(model, batch)[0].isfinite().all()
