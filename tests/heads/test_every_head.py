"""What holds for one head holds for each: copies, threads, compile, DDP, other people's patches, empty batches."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import killed
import pytest
import torch
from tiny_detectors import BOX_LOSS, HEADS, batch, detector, gradients, head_module, step
from torch import Tensor, nn
from torchvision.models.detection import fcos, retinanet
from torchvision.ops import generalized_box_iou_loss

from detloss import (
    AlreadyPatchedError,
    BoxRegressionLoss,
    HeadNotFoundError,
    InjectionError,
    build_loss,
    eject,
    find_plugins,
    inject,
    injected,
)
from detloss.registry import HEAD_GROUP

every_head = pytest.mark.parametrize("head", HEADS)


def box_loss(model: nn.Module, head: str, seed: int = 0) -> float:
    return step(model, batch(seed))[BOX_LOSS[head]].item()


class Keep(BoxRegressionLoss):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Tensor] = {}

    def forward(self, pred: Tensor, target: Tensor, *, anchors: Tensor, image_size: Tensor) -> Tensor:
        self.given.update(pred=pred, target=target, anchors=anchors, image_size=image_size)
        return (pred - target).abs().sum(-1)


@every_head
def test_targets_anchors_and_image_sizes_belong_together(head: str) -> None:
    """Targets are the ground-truth boxes of the image that the anchor lies in, and the sizes are that image's."""
    loss = Keep()
    model = inject(detector(head), {head: loss})
    images, targets = batch(counts=(2, 2))
    if head != "ssd":  # which resizes every image to one size
        images[1] = images[1][:, :, :64]
        targets[1]["boxes"] = targets[1]["boxes"].clamp(max=63)
    step(model, (images, targets))
    truth = [{tuple(box) for box in target["boxes"].tolist()} for target in targets]
    widths = loss.given["image_size"][:, 1].tolist()
    sizes = {(64.0, 96.0)} if head == "ssd" else {(64.0, 96.0), (64.0, 64.0)}
    assert {tuple(size) for size in loss.given["image_size"].tolist()} == sizes
    for target, width in zip(loss.given["target"].tolist(), widths, strict=True):
        of_image = truth[0] | truth[1] if head == "ssd" else truth[int(width == 64)]
        assert tuple(target) in of_image
    centres = (loss.given["anchors"][:, :2] + loss.given["anchors"][:, 2:]) / 2
    inside = (centres > loss.given["target"][:, :2] - 16) & (centres < loss.given["target"][:, 2:] + 16)
    assert inside.all(), "a matched anchor lies at its box"


@pytest.mark.parametrize("head", ["retinanet", "fcos", "ssd"])
def test_giou_of_a_dense_head_is_computed_on_decoded_boxes(head: str) -> None:
    """GIoU in a dense head is GIoU of the decoded positives and their boxes, divided as the head does."""
    model = inject(detector(head), {head: {"name": "giou", "weight": 2}})
    seen = {}
    module = model.head if head != "ssd" else model
    stock = module.compute_loss

    def watch(targets: list[dict[str, Tensor]], outputs: dict[str, Tensor], anchors: object, matched: list[Tensor]):
        seen.update(targets=targets, outputs=outputs, anchors=anchors, matched=matched)
        return stock(targets, outputs, anchors, matched)

    module.compute_loss = watch  # after the injection, so that it is the test's own and nothing to report
    found = step(model, batch(counts=(3, 1)))["bbox_regression"]
    coder = {"retinanet": "head.regression_head.box_coder", "fcos": "head.box_coder", "ssd": "box_coder"}[head]
    for part in coder.split("."):
        module = getattr(model if part == coder.split(".")[0] else module, part)
    by_hand, positives = [], []
    for image, matched in enumerate(seen["matched"]):
        kept = matched >= 0
        regression, anchors = seen["outputs"]["bbox_regression"][image][kept], seen["anchors"][image][kept]
        decoded = module.decode(regression, anchors) if head == "fcos" else module.decode_single(regression, anchors)
        boxes = seen["targets"][image]["boxes"][matched[kept]]
        by_hand.append(generalized_box_iou_loss(decoded, boxes, reduction="sum"))
        positives.append(int(kept.sum()))
    assert min(positives) > 0
    if head == "retinanet":
        expected = sum(loss / count for loss, count in zip(by_hand, positives, strict=True)) / 2
    else:
        expected = sum(by_hand) / sum(positives)
    torch.testing.assert_close(found, 2 * expected, rtol=1e-5, atol=1e-6)


@every_head
def test_normalizer_positives_divides_by_the_matched_boxes(head: str) -> None:
    """`normalizer: positives` is the plain mean over the matched boxes of the batch, in every head."""
    loss = Keep()
    model = inject(detector(head), {head: {"name": "l1", "weight": 1, "normalizer": "positives"}})
    found = step(model, batch())[BOX_LOSS[head]]
    keep = inject(detector(head), {head: loss})
    step(keep, batch())
    count = len(loss.given["pred"])
    values: list[Tensor] = []

    class Sum(BoxRegressionLoss):
        space = "deltas"

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            values.append(build_loss("l1")(pred, target))
            return values[-1]

    step(inject(detector(head), {head: Sum()}), batch())
    assert count > 1
    torch.testing.assert_close(found, values[0].sum() / count)


@every_head
@pytest.mark.parametrize("loss", ["smooth_l1", "giou"])
def test_row_29_a_batch_without_objects_gives_a_connected_zero(head: str, loss: str) -> None:
    """Without any positive the box loss is 0 and every parameter that the stock loss reaches gets a gradient."""
    stock, model = detector(head), inject(detector(head), {head: loss})
    losses = step(model, batch(counts=(0, 0)))
    assert losses[BOX_LOSS[head]] == 0
    losses[BOX_LOSS[head]].backward()
    step(stock, batch(counts=(0, 0)))[BOX_LOSS[head]].backward()
    reached = [name for name, parameter in stock.named_parameters() if parameter.grad is not None]
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == reached
    assert reached


@every_head
def test_copies_keep_their_losses(head: str) -> None:
    """Deepcopy and pickle give a model with the same losses, and eject gives the very class back."""
    model = inject(detector(head), {head: "giou"})
    original = type(head_module(detector(head), head))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert str(injected(other)) == str(injected(model))
        assert box_loss(other, head) == box_loss(model, head)
        assert type(head_module(eject(other), head)) is original
    assert head in injected(model)
    model.load_state_dict(detector(head, seed=1).state_dict())
    detector(head, seed=2).load_state_dict(model.state_dict())


@every_head
def test_eval_is_untouched(head: str) -> None:
    """Detections are torchvision's, bit for bit."""
    stock, model = detector(head).eval(), inject(detector(head), {head: "giou"}).eval()
    images, _ = batch()
    with torch.no_grad():
        for expected, found in zip(stock(images), model(images), strict=True):
            assert len(expected["boxes"]) > 0
            assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("head", ["retinanet", "fcos"])
def test_a_rebuilt_head_keeps_the_losses(head: str) -> None:
    """After the detector's `head` is replaced by a new one, the injected loss still runs."""
    model = inject(detector(head), {head: "diou"})
    model.head = detector(head, seed=1).head
    other = detector(head)
    other.head = detector(head, seed=1).head
    inject(other, {head: "diou"})
    stock = detector(head)
    stock.head = detector(head, seed=1).head
    assert box_loss(model, head) == box_loss(other, head) != box_loss(stock, head)


@every_head
def test_threads_do_not_mix_their_matches(head: str) -> None:
    """One model in three threads at once gives each thread the loss of its own batch."""
    model = inject(detector(head), {head: "giou"}).train()
    for part in ("rpn", "roi_heads"):
        if hasattr(model, part):  # sampling everything leaves no random choice
            getattr(model, part).fg_bg_sampler.batch_size_per_image = 10_000
    data = [batch(seed, counts=(seed + 1,)) for seed in range(3)]

    def loss(index: int) -> float:
        images, targets = data[index]
        return model(images, [dict(target) for target in targets])[BOX_LOSS[head]].item()

    expected = [loss(index) for index in range(3)]
    found: dict[int, set[float]] = {}
    threads = [
        threading.Thread(target=lambda index=index: found.update({index: {loss(index) for _ in range(5)}}))
        for index in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(expected)) == 3
    assert [found[index] for index in range(3)] == [{value} for value in expected]


@pytest.mark.xdist_group("compiled")
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the tracer of torch.compile trips over warnings of its own
@pytest.mark.parametrize(
    ("losses", "backend"),
    # A loss with compile: true becomes a part of the compiled model. Tracing the backward pass takes as long again:
    # the lightest detector does it.
    [
        ({"roi_heads": {"name": "giou", "compile": True}, "rpn": "giou"}, "eager"),
        ({"ssd": {"name": "giou", "compile": True}}, "aot_eager"),  # the other one-stage detectors run the same code
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_torch_compile_gives_the_same_losses_and_gradients(losses: dict[str, object], backend: str) -> None:
    """The compiled training step gives the losses and gradients of the eager one."""
    torch.compiler.reset()
    model = inject(detector(next(iter(losses))), losses)
    eager_model = inject(copy.deepcopy(model), dict.fromkeys(losses, "giou"))
    compiled = torch.compile(model, backend=backend)
    for seed, counts in ((0, (3, 1)), (2, (0, 1))):
        eager = step(eager_model, batch(seed, counts))
        expected = gradients(eager_model, eager)
        values = step(compiled, batch(seed, counts))
        found = gradients(model, values)
        for name, value in eager.items():
            torch.testing.assert_close(values[name], value, msg=name)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)


DDP = """
import sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
from tiny_detectors import HEADS, batch, detector, step
from detloss import inject

def run(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for head in HEADS:
        model = inject(detector(head), {head: [{"name": "l1", "weight": 1}, {"name": "giou", "weight": 2}]})
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        # The second process has no object at all. torchvision's own FCOS then leaves parameters out: it has no zero.
        losses = step(parallel, batch(rank, (2, 1) if rank == 0 else (0, int(head == "fcos"))))
        sum(losses.values(), torch.zeros(())).backward()
        torch.save({k: p.grad for k, p in model.named_parameters()}, f"{folder}/{head}-{rank}.pt")
    dist.destroy_process_group()

if __name__ == "__main__":
    torch.set_num_threads(1)
    mp.start_processes(run, args=(sys.argv[1],), nprocs=2, start_method="fork")
"""


@pytest.mark.slow
def test_ddp_gives_every_parameter_the_same_gradient_on_both_ranks(tmp_path: Path) -> None:
    """In each head two gloo processes, one without an object, end with equal gradients, the mean of both."""
    done = killed.python("-c", DDP, str(tmp_path), PYTHONPATH=str(Path(__file__).parents[1] / "support"))
    assert done.returncode == 0, done.stderr
    for head in HEADS:
        first, second = (torch.load(tmp_path / f"{head}-{rank}.pt") for rank in range(2))
        alone = []
        for rank, counts in enumerate(((2, 1), (0, int(head == "fcos")))):
            model = inject(detector(head), {head: [{"name": "l1", "weight": 1}, {"name": "giou", "weight": 2}]})
            alone.append(gradients(model, step(model, batch(rank, counts))))
        for name, gradient in first.items():
            assert torch.equal(gradient, second[name]), name
            torch.testing.assert_close(gradient, (alone[0][name] + alone[1][name]) / 2, msg=name)


@pytest.mark.parametrize(
    ("head", "module", "name"), [("retinanet", retinanet, "_box_loss"), ("fcos", fcos, "generalized_box_iou_loss")]
)
def test_global_patches_are_reported(head: str, module: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced loss function of torchvision's module is reported and nothing is injected."""
    model = detector(head)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: None)
    with pytest.raises(AlreadyPatchedError, match=f"{name} is .* not torchvision's own"):
        inject(model, {head: "giou"})
    assert not injected(model)


@every_head
def test_an_instance_method_patch_is_reported(head: str) -> None:
    """A method that you replaced on the instance would hide detloss's, so it is reported."""
    model = detector(head)
    module = head_module(model, head)
    name = "select_training_samples" if head == "roi_heads" else "compute_loss"
    setattr(module, name, getattr(module, name))
    with pytest.raises(AlreadyPatchedError, match=f"its own '{name}'"):
        inject(model, {head: "giou"})


@every_head
def test_a_loss_that_reduces_is_refused(head: str) -> None:
    """A loss that returns a scalar gets an error that names the head and says who sums."""

    class Reduced(BoxRegressionLoss):
        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return (pred - target).abs().sum()

    with pytest.raises(InjectionError, match=rf"{head}: the loss Reduced returned a wrong shape \(found \(\)"):
        step(inject(detector(head), {head: Reduced()}), batch())


def test_the_wrong_head_names_those_that_the_model_has() -> None:
    """A head that the model does not have is refused, and the heads that it has are named."""
    with pytest.raises(HeadNotFoundError, match=r"ssd: this FasterRCNN has no SSD\. Its heads: roi_heads, rpn"):
        inject(detector("rpn"), {"ssd": "giou"})


def test_the_heads_enter_through_the_entry_point_group() -> None:
    """Torchvision's five heads are plugins of the group `detloss.heads`, like anyone's."""
    assert {plugin.name for plugin in find_plugins(HEAD_GROUP)} >= set(HEADS)


@every_head
def test_every_loss_of_the_first_party_packages_runs_in_every_head(head: str) -> None:
    """Forward and backward of all installed losses, summed, give a finite value and finite gradients in the head."""
    names = [plugin.name for plugin in find_plugins() if plugin.package.startswith("detloss-")]
    model = inject(detector(head), {head: names})
    losses = step(model, batch(counts=(3, 0, 1)))
    assert len(injected(model)[head].losses) == len(names) > 20
    assert torch.isfinite(losses[BOX_LOSS[head]])
    for name, gradient in gradients(model, {"box": losses[BOX_LOSS[head]]}).items():
        assert torch.isfinite(gradient).all(), name
