"""The losses in `roi_heads` are what torchvision would compute, or what the config names; nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_detectors import BUILDERS, NUM_CLASSES, batch, faster_rcnn, gradients, mask_rcnn, step
from torch import Tensor, nn
from torchvision.models.detection import roi_heads as torchvision_roi_heads
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import generalized_box_iou_loss

from detloss import BoxRegressionLoss, InjectionError, inject
from detloss.errors import AlreadyPatchedError

STOCK = {"roi_heads": {"name": "smooth_l1", "beta": 1 / 9, "weight": 1}}


@pytest.mark.parametrize("detector", BUILDERS)
def test_stock_loss_gives_torchvisions_losses_and_gradients(detector: str) -> None:
    """Smooth L1 with beta 1/9 in `roi_heads` gives every loss and gradient of torchvision within 1e-6."""
    stock = BUILDERS[detector]()
    model = inject(copy.deepcopy(stock), STOCK)
    data = batch(counts=(3, 0, 2))
    expected, found = step(stock, data), step(model, data)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        if name == "loss_box_reg":
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(found[name], value), name
    assert expected["loss_box_reg"] > 0
    gradient = gradients(model, found)
    for name, value in gradients(stock, expected).items():
        torch.testing.assert_close(gradient[name], value, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("detector", BUILDERS)
def test_stock_loss_gives_torchvisions_weights_after_5_steps(detector: str) -> None:
    """Five steps of training from one seed end at torchvision's weights within 1e-5."""
    stock = BUILDERS[detector]()
    model = inject(copy.deepcopy(stock), STOCK)
    start = copy.deepcopy(stock.state_dict())
    for trained in (stock, model):
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.01, momentum=0.9)
        for number in range(5):
            losses = step(trained, batch(seed=number, counts=(2, 1)), seed=number)
            optimizer.zero_grad()
            sum(losses.values(), torch.zeros(())).backward()
            optimizer.step()
    weights = model.state_dict()
    for name, value in stock.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-5, msg=name)
    moved = max(float((value - start[name]).abs().max()) for name, value in stock.state_dict().items())
    assert moved > 1e-3, "the comparison means nothing if training changed nothing"


@pytest.mark.parametrize("detector", BUILDERS)
def test_evaluation_is_untouched(detector: str) -> None:
    """Detections in eval mode and the keys of the state dict are torchvision's, bit for bit."""
    stock = BUILDERS[detector]().eval()
    model = inject(copy.deepcopy(stock), {"roi_heads": "giou"}).eval()
    assert list(model.state_dict()) == list(stock.state_dict())
    images, _ = batch()
    with torch.no_grad():
        for expected, found in zip(stock(images), model(images), strict=True):
            assert expected.keys() == found.keys()
            assert len(expected["boxes"]) > 0
            for name, value in expected.items():
                assert torch.equal(found[name], value), name


def observed(model: nn.Module) -> dict[str, object]:
    """Note what passes through a RoI head, with hooks and a wrapper of its own, independent of detloss."""
    seen: dict[str, object] = {}
    head = model.roi_heads
    sample = type(head).select_training_samples

    class Watching(type(head)):  # type: ignore[misc]
        def select_training_samples(self, proposals: list[Tensor], targets: list[dict[str, Tensor]]) -> object:
            result = sample(self, proposals, targets)
            seen["proposals"], seen["matched"], seen["labels"], _ = result
            seen["boxes"] = [target["boxes"] for target in targets]
            return result

    head.__class__ = Watching

    def keep(_module: nn.Module, _args: object, output: tuple[Tensor, Tensor]) -> None:
        output[1].retain_grad()
        seen["regression"] = output[1]

    head.box_predictor.register_forward_hook(keep)
    return seen


def test_giou_is_computed_on_decoded_boxes() -> None:
    """GIoU in `roi_heads` is GIoU of `box_coder.decode` of the samples and the matched boxes, value and gradient."""
    model = faster_rcnn()
    seen = observed(model)
    inject(model, {"roi_heads": {"name": "giou", "weight": 10}})
    found = step(model, batch(counts=(3, 2)))["loss_box_reg"]
    found.backward()

    labels = torch.cat(seen["labels"])
    positive = torch.where(labels > 0)[0]
    assert len(positive) > 3
    regression = seen["regression"].detach().requires_grad_()
    decoded = model.roi_heads.box_coder.decode(regression, seen["proposals"])
    matched = torch.cat([boxes[index] for boxes, index in zip(seen["boxes"], seen["matched"], strict=True)])
    by_hand = generalized_box_iou_loss(decoded[positive, labels[positive]], matched[positive]).sum()
    by_hand = 10 * by_hand / len(labels)
    by_hand.backward()
    torch.testing.assert_close(found, by_hand, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(seen["regression"].grad, regression.grad, rtol=1e-5, atol=1e-7)
    assert regression.grad.abs().max() > 1e-3


def test_targets_are_the_matched_boxes_themselves() -> None:
    """A boxes-space loss gets the ground-truth boxes bit for bit, not a round trip through the encoding."""
    given = {}

    class Keep(BoxRegressionLoss):
        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            given["target"] = target
            return (pred - target).abs().sum(-1)

    model = inject(faster_rcnn(), {"roi_heads": Keep()})
    data = batch(counts=(1,))
    step(model, data)
    box = data[1][0]["boxes"]  # 64 x 96 is the network's own size, so the boxes are not rescaled
    assert len(given["target"]) >= 1  # the box itself is always among the proposals
    assert torch.equal(given["target"], box.expand(len(given["target"]), 4))


def test_the_extras_are_the_proposals_and_the_size_of_the_image() -> None:
    """`anchors` are the sampled proposals and `image_size` the height and width of each box's network input."""
    given = {}

    class Extras(BoxRegressionLoss):
        def forward(self, pred: Tensor, target: Tensor, *, anchors: Tensor, image_size: Tensor) -> Tensor:
            given.update(anchors=anchors, image_size=image_size)
            return (pred - target).abs().sum(-1)

    model = faster_rcnn()
    seen = observed(model)
    inject(model, {"roi_heads": Extras()})
    images, targets = batch(counts=(2, 2))
    images[1] = images[1][:, :, :64]  # 64 x 64: an image of another shape in the same batch
    targets[1]["boxes"] = targets[1]["boxes"].clamp(max=63)
    step(model, (images, targets))
    positive = [label > 0 for label in seen["labels"]]
    assert torch.equal(given["anchors"], torch.cat([b[p] for b, p in zip(seen["proposals"], positive, strict=True)]))
    sizes = [[64.0, 96.0]] * int(positive[0].sum()) + [[64.0, 64.0]] * int(positive[1].sum())
    assert given["image_size"].tolist() == sizes


def test_several_losses_are_summed() -> None:
    """A list of specs is the weighted sum of its losses, deltas and boxes together."""
    l1, giou = {"name": "smooth_l1", "weight": 0.5}, {"name": "giou", "weight": 10}
    alone = [step(inject(faster_rcnn(), {"roi_heads": spec}), batch())["loss_box_reg"] for spec in (l1, giou)]
    together = step(inject(faster_rcnn(), {"roi_heads": [l1, giou]}), batch())["loss_box_reg"]
    torch.testing.assert_close(together, alone[0] + alone[1])


def test_normalizer_positives_divides_by_the_matched_boxes() -> None:
    """`normalizer: positives` divides by the number of positive samples, `stock` by that of all samples."""
    model = faster_rcnn()
    seen = observed(model)
    inject(model, {"roi_heads": {"name": "giou", "weight": 1}})
    by_all = step(model, batch())["loss_box_reg"]
    labels = torch.cat(seen["labels"])
    inject(model, {"roi_heads": {"name": "giou", "weight": 1, "normalizer": "positives"}})
    by_positives = step(model, batch())["loss_box_reg"]
    torch.testing.assert_close(by_positives * int((labels > 0).sum()), by_all * labels.numel())


@pytest.mark.parametrize("loss", ["smooth_l1", "giou"])
@pytest.mark.parametrize("detector", BUILDERS)
def test_a_batch_without_objects_gives_a_zero_that_is_connected(detector: str, loss: str) -> None:
    """Without any positive the loss is 0, and the box predictor gets a gradient of 0, not None."""
    model = inject(BUILDERS[detector](), {"roi_heads": loss})
    losses = step(model, batch(counts=(0, 0)))
    assert losses["loss_box_reg"] == 0
    losses["loss_box_reg"].backward()
    assert torch.equal(model.roi_heads.box_predictor.bbox_pred.weight.grad, torch.zeros(4 * NUM_CLASSES, 1024))


def test_without_any_proposal_the_loss_is_zero() -> None:
    """Where neither an object nor a proposal is in the batch, the loss is 0, and not an error about shapes."""
    head = inject(faster_rcnn(), {"roi_heads": "giou"}).roi_heads
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    _, losses = head({"0": torch.zeros(1, 8, 16, 24)}, [torch.zeros(0, 4)], [(64, 96)], [target])
    assert losses["loss_box_reg"] == 0


def test_a_replaced_box_predictor_is_used() -> None:
    """After `box_predictor` is replaced, as the fine-tuning tutorial does, the injected loss reads the new one."""
    model = inject(faster_rcnn(), {"roi_heads": "giou"})
    torch.manual_seed(1)
    model.roi_heads.box_predictor = FastRCNNPredictor(1024, NUM_CLASSES)
    other = faster_rcnn()
    torch.manual_seed(1)
    other.roi_heads.box_predictor = FastRCNNPredictor(1024, NUM_CLASSES)
    inject(other, {"roi_heads": "giou"})
    found, expected = step(model, batch())["loss_box_reg"], step(other, batch())["loss_box_reg"]
    assert torch.equal(found, expected)
    found.backward()
    assert model.roi_heads.box_predictor.bbox_pred.weight.grad.abs().max() > 0


class AgnosticPredictor(nn.Module):
    """One regression for all classes, repeated so that torchvision can index it by class."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_score = nn.Linear(1024, NUM_CLASSES)
        self.bbox_pred = nn.Linear(1024, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x).repeat(1, NUM_CLASSES)


class AgnosticHeads(RoIHeads):
    """A user's head whose predictor returns ``(N, 4)``, which torchvision's own loss cannot index."""

    def forward(self, features, proposals, image_shapes, targets=None):  # type: ignore[no-untyped-def]
        proposals, _, labels, regression_targets = self.select_training_samples(proposals, targets)
        x = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, regression = self.box_predictor(x)
        label, target = torch.cat(labels), torch.cat(regression_targets)
        box = nn.functional.smooth_l1_loss(regression[label > 0], target[label > 0], beta=1 / 9, reduction="sum")
        loss = nn.functional.cross_entropy(logits, label)
        return [], {"loss_classifier": loss, "loss_box_reg": box / len(label)}


class FourOutputs(AgnosticPredictor):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


@pytest.mark.parametrize("style", ["repeated", "four outputs in a head of the user's"])
def test_a_class_agnostic_predictor_works(style: str) -> None:
    """With one regression for all classes the stock loss injected gives the stock loss, and GIoU a gradient."""
    model = faster_rcnn()
    if style == "repeated":
        model.roi_heads.box_predictor = AgnosticPredictor()
    else:
        model.roi_heads.__class__ = AgnosticHeads
        model.roi_heads.box_predictor = FourOutputs()
    expected = step(model, batch())["loss_box_reg"]
    inject(model, STOCK)
    torch.testing.assert_close(step(model, batch())["loss_box_reg"], expected, rtol=1e-6, atol=1e-6)
    inject(model, {"roi_heads": "giou"})
    step(model, batch())["loss_box_reg"].backward()
    assert model.roi_heads.box_predictor.bbox_pred.weight.grad.abs().max() > 0


class CountingHeads(RoIHeads):
    """A user's subclass with a state of its own."""

    forwards = 0

    def forward(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.forwards += 1
        return super().forward(*args, **kwargs)


def test_a_users_subclass_keeps_its_behaviour() -> None:
    """A user's own `RoIHeads` subclass still runs its forward, and `isinstance` holds for it."""
    model = faster_rcnn()
    model.roi_heads.__class__ = CountingHeads
    expected = step(model, batch())["loss_box_reg"]
    inject(model, STOCK)
    torch.testing.assert_close(step(model, batch())["loss_box_reg"], expected, rtol=1e-6, atol=1e-6)
    assert model.roi_heads.forwards == 2
    assert isinstance(model.roi_heads, CountingHeads)


def test_a_head_that_works_differently_is_refused_when_it_trains() -> None:
    """A subclass that never samples gets an error that says what was expected and what was found."""

    class NoSampling(RoIHeads):
        def forward(self, features, proposals, image_shapes, targets=None):  # type: ignore[no-untyped-def]
            return [], {"loss_box_reg": torch.zeros(())}

    model = faster_rcnn()
    model.roi_heads.__class__ = NoSampling
    inject(model, STOCK)
    with pytest.raises(InjectionError, match=r"NoSampling did not call 'select_training_samples'.*write an adapter"):
        step(model, batch())


def test_an_instance_attribute_patch_is_reported() -> None:
    """`roi_heads.fastrcnn_loss = f`, which torchvision never reads, is reported and nothing is injected."""
    model = faster_rcnn()
    model.roi_heads.fastrcnn_loss = lambda *args: None
    with pytest.raises(AlreadyPatchedError, match="never ran"):
        inject(model, {"roi_heads": "giou"})
    assert type(model.roi_heads) is RoIHeads


def test_a_global_patch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced `torchvision.models.detection.roi_heads.fastrcnn_loss` is reported and nothing is injected."""
    model = faster_rcnn()
    with monkeypatch.context() as patch:
        patch.setattr(torchvision_roi_heads, "fastrcnn_loss", lambda *args: None)
        with pytest.raises(AlreadyPatchedError, match="replaced for every model"):
            inject(model, {"roi_heads": "giou"})
    assert type(model.roi_heads) is RoIHeads
    inject(model, {"roi_heads": "giou"})


@pytest.mark.parametrize("name", ["forward", "select_training_samples"])
def test_an_instance_method_patch_is_reported(name: str) -> None:
    """A method that was replaced on the instance would hide detloss's, so it is reported."""
    model = faster_rcnn()
    setattr(model.roi_heads, name, getattr(model.roi_heads, name))
    with pytest.raises(AlreadyPatchedError, match=f"its own '{name}'"):
        inject(model, {"roi_heads": "giou"})


def test_a_loss_that_reduces_is_refused() -> None:
    """A loss that returns a scalar gets an error that says who sums."""

    class Reduced(BoxRegressionLoss):
        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return (pred - target).abs().sum()

    model = inject(mask_rcnn(), {"roi_heads": Reduced()})
    with pytest.raises(InjectionError, match=r"Reduced returned a wrong shape \(found \(\), expected .*one value"):
        step(model, batch())


@pytest.mark.parametrize("loss", ["smooth_l1", "giou"])
def test_bfloat16_autocast_computes_the_loss_in_float32(loss: str) -> None:
    """Under autocast in bfloat16 the loss is float32 and as near to full precision as the stock loss is."""
    model = inject(faster_rcnn(), {"roi_heads": loss})
    full = step(model, batch())["loss_box_reg"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = step(model, batch())["loss_box_reg"]
    assert low.dtype == torch.float32
    low.backward()
    assert torch.isfinite(model.roi_heads.box_predictor.bbox_pred.weight.grad).all()
    torch.testing.assert_close(low, full, rtol=0.2, atol=0)


def test_the_loss_itself_sees_no_autocast_and_no_half_precision() -> None:
    """Under autocast, and with half-precision predictions, the loss runs with autocast off on float32."""
    seen = []

    class Keep(BoxRegressionLoss):
        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            seen.append((torch.is_autocast_enabled("cpu"), pred.dtype, target.dtype))
            return (pred - target).abs().sum(-1)

    model = inject(faster_rcnn(), {"roi_heads": Keep()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(model, batch())
    assert seen == [(False, torch.float32, torch.float32)]
