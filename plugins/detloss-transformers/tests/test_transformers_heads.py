"""The heads of transformers keep the contract, and losses survive what people do with such models."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detloss import (
    AlreadyPatchedError,
    BoxRegressionLoss,
    InjectionError,
    build_loss,
    calibrate,
    eject,
    find_plugins,
    inject,
    injected,
)
from detloss.registry import HEAD_GROUP
from detloss.testing import HEAD_CHECKS
from detloss.testing.head_trial import head_subject_of

transformers = pytest.importorskip("transformers")
small_models = pytest.importorskip("detloss_transformers.small_models")
SIZE, labels, pixels = small_models.SIZE, small_models.labels, small_models.pixels

HEADS = [plugin.name for plugin in find_plugins(HEAD_GROUP) if plugin.package == "detloss-transformers"]
# Both heads of a family go the same way through a job of two processes.
CHECKS = {head: [check for check in HEAD_CHECKS if check.name != "ranks" or head[-3:] != "_l1"] for head in HEADS}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def rt_detr() -> Any:
    torch.manual_seed(0)
    return small_models.rt_detr()


def step(model: Any, seed: int = 1, *, objects: bool = True) -> Any:
    torch.manual_seed(seed)
    return model(pixel_values=pixels(model), labels=labels(model, objects=objects))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")  # transformers' own
@pytest.mark.parametrize("head", HEADS)
def test_each_head_keeps_the_contract(head: str) -> None:
    """Every head equals its stock model with the stock loss, and keeps every other promise."""
    subject = head_subject_of(head)
    results = [check.apply(subject) for check in CHECKS[head]]
    assert [(result.check.name, result.message) for result in results if not result.ok] == []


def test_there_is_a_head_for_each_term_of_each_family() -> None:
    """Eleven families have two heads each, and `detloss list --heads` says for which transformers."""
    assert len(HEADS) == 22
    assert {head.removesuffix("_l1") for head in HEADS} == {head for head in HEADS if not head.endswith("_l1")}
    assert {plugin.host for plugin in find_plugins(HEAD_GROUP) if plugin.name in HEADS} == {"transformers"}


VARIANTS = {
    "without denoising": ("rt_detr", {"num_denoising": 0}),
    "without auxiliary losses": ("rt_detr", {"auxiliary_loss": False}),
    "without refinement": ("deformable_detr", {"with_box_refine": False}),
    "two stages": ("deformable_detr", {"two_stage": True, "two_stage_num_proposals": 12}),
    "the default, without auxiliary losses": ("detr", {"auxiliary_loss": False}),
    "D-FINE without denoising": ("d_fine", {"num_denoising": 0}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_configs_equal_stock_too(variant: str) -> None:
    """With other settings, and so other layers in a step, every loss is still the stock model's."""
    head, changed = VARIANTS[variant]
    config = getattr(small_models, head)().config
    for name, value in changed.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    stock = transformers.AutoModelForObjectDetection.from_config(config).train()
    model = inject(copy.deepcopy(stock), {head: "giou", f"{head}_l1": "l1"})
    expected, found = step(stock).loss_dict, step(model).loss_dict
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


class Keep(BoxRegressionLoss):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor) -> Tensor:
        self.given.append((pred.detach(), target, image_size))
        return (pred - target).abs().sum(-1)


def test_losses_get_pixels_of_all_layers_at_once() -> None:
    """In one call a loss gets the boxes of the decoder, the encoder and denoising, in pixels of the network input."""
    loss = Keep()
    step(inject(rt_detr(), {"rt_detr": loss}))
    ((pred, target, sizes),) = loss.given
    # Two decoder layers, the encoder, and two layers of denoising with 4 / 2 = 2 groups of 3 boxes: 3 * 3 + 2 * 2 * 3.
    assert len(pred) == 21
    assert {tuple(size) for size in sizes.tolist()} == {SIZE}
    # (0.3, 0.4, 0.4, 0.3) in an image of 64 x 96: the center (28.8, 25.6), 38.4 wide and 19.2 high.
    torch.testing.assert_close(target[0], torch.tensor([9.6, 16.0, 48.0, 35.2]))


def test_both_terms_can_be_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Each term of a model has its own losses; the weight is relative to the model's own gain, and the log says so."""
    stock = step(rt_detr())
    with caplog.at_level(logging.INFO, logger="detloss"):
        model = inject(rt_detr(), {"rt_detr": "giou", "rt_detr_l1": {"name": "l1", "weight": 3}})
    assert "rt_detr: giou gets weight 1 (none is recommended: the gain stays the head's own)" in caplog.text
    found = step(model)
    for name, value in stock.loss_dict.items():
        factor = 3 if name.startswith("loss_bbox") else 1
        torch.testing.assert_close(found.loss_dict[name], factor * value, rtol=1e-4, atol=1e-5, msg=name)
    eject(model, ["rt_detr_l1"])
    assert list(injected(model)) == ["rt_detr"]
    torch.testing.assert_close(step(model).loss, stock.loss, rtol=1e-4, atol=1e-5)
    eject(model)
    assert type(model) is transformers.RTDetrForObjectDetection
    assert torch.equal(step(model).loss, stock.loss)


def test_the_mean_of_a_loss_moves_once_a_step() -> None:
    """The running mean of a loss moves once in a step of five layers, and not in eval mode, where the loss runs too."""
    model = inject(rt_detr(), {"rt_detr": {"name": "wiou", "momentum": 0.5}})
    keep = Keep()
    step(inject(copy.deepcopy(model), {"rt_detr": [keep, "iou"]}))
    before = step(model.eval()).loss_dict["loss_giou"].item()
    assert model.detloss.losses[0].iou_mean == 1
    step(model.train())
    ((pred, target, _),) = keep.given
    mean = build_loss("iou")(pred, target).mean()
    torch.testing.assert_close(model.detloss.losses[0].iou_mean, 0.5 + 0.5 * mean)
    assert step(model.eval()).loss_dict["loss_giou"].item() != before


def test_a_saved_model_is_the_plain_one(tmp_path: Path) -> None:
    """`save_pretrained` writes the plain class and keys; what `from_pretrained` reads takes the loss again."""
    model = inject(rt_detr(), {"rt_detr": "ciou"})
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["RTDetrForObjectDetection"]
    loaded = transformers.AutoModelForObjectDetection.from_pretrained(tmp_path)
    assert type(loaded) is transformers.RTDetrForObjectDetection
    assert list(loaded.state_dict()) == list(rt_detr().state_dict())
    inject(loaded.train(), {"rt_detr": "ciou"})
    torch.testing.assert_close(step(loaded).loss, step(model).loss, rtol=1e-5, atol=1e-5)


def test_calibration_measures_the_stock_term() -> None:
    """Against itself the stock loss has the same value and gradient; batches are mappings."""
    torch.manual_seed(0)
    model = inject(small_models.detr(), {"detr": "giou", "detr_l1": "smooth_l1"})
    batch = {"pixel_values": pixels(model), "labels": labels(model)}
    giou, smooth = calibrate(model, [batch, batch])
    assert (giou.head, smooth.head) == ("detr", "detr_l1")
    assert giou.value == pytest.approx(giou.stock_value, rel=1e-4)
    assert giou.ratio == pytest.approx(1, rel=1e-4)
    assert smooth.stock_gradient > 0


@pytest.mark.parametrize("order", [("rt_detr", "rt_detr_l1"), ("rt_detr_l1", "rt_detr")])
def test_the_terms_go_in_and_out_in_any_order(order: tuple[str, str]) -> None:
    """Which of the two heads of a model comes first makes no difference."""
    model = rt_detr()
    for head in order:
        inject(model, {head: "giou" if head == "rt_detr" else "l1"})
    torch.testing.assert_close(step(model).loss, step(rt_detr()).loss, rtol=1e-4, atol=1e-5)
    assert type(eject(eject(model, [order[0]]))) is transformers.RTDetrForObjectDetection


@pytest.mark.parametrize("where", ["instance", "mapping"])
def test_another_loss_function_is_refused(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss function that you set, for the model or for all of its kind, is named and stays."""

    def mine(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    model = rt_detr()
    if where == "instance":
        model.loss_function = mine
    else:
        monkeypatch.setitem(transformers.loss.loss_utils.LOSS_MAPPING, "RTDetrForObjectDetection", mine)
    with pytest.raises(
        AlreadyPatchedError, match=r"rt_detr: .*loss_function is .*mine.*, not transformers' own\. Fix:"
    ):
        inject(model, {"rt_detr": "giou"})
    assert not injected(model)


def test_a_loss_function_that_is_set_later_is_refused_in_the_step() -> None:
    """A loss function that comes after the losses would lose them, and the step says so."""
    model = inject(rt_detr(), {"rt_detr": "giou"})
    model.loss_function = lambda *args, **kwargs: None
    with pytest.raises(InjectionError, match="makes no RTDetrLoss, so its box loss cannot be replaced"):
        step(model)


@pytest.mark.filterwarnings("default")  # of the Trainer and its libraries
def test_the_trainer_trains_with_the_loss(tmp_path: Path) -> None:
    """A few steps of transformers' Trainer with an injected loss make it smaller, and its checkpoint is plain."""
    model = inject(rt_detr(), {"rt_detr": "ciou"})
    example = {"pixel_values": pixels(model), "labels": labels(model)}
    data = [{"pixel_values": image, "labels": truth} for image, truth in zip(*example.values(), strict=True)]

    def collate(items: list[Any]) -> dict[str, Any]:
        return {
            "pixel_values": torch.stack([item["pixel_values"] for item in items]),
            "labels": [item["labels"] for item in items],
        }

    before = model.eval()(**example).loss_dict["loss_giou"].item()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=20,
        learning_rate=1e-2,
        per_device_train_batch_size=2,
        report_to=[],
        save_steps=20,
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=data, eval_dataset=data, data_collator=collate)
    trainer.train()
    assert model.eval()(**example).loss_dict["loss_giou"].item() < 0.8 * before
    assert trainer.evaluate()["eval_loss"] > 0
    saved = transformers.RTDetrForObjectDetection.from_pretrained(tmp_path / "checkpoint-20")
    assert type(saved) is transformers.RTDetrForObjectDetection
    assert list(saved.state_dict()) == list(eject(model).state_dict())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("order", ["injected first", "prepared first"])
def test_a_loop_with_accelerate_trains(order: str) -> None:
    """A loop with accelerate trains with the losses, put in before or after `prepare`, which wraps `forward`."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    model = rt_detr()
    if order == "injected first":
        inject(model, {"rt_detr": "diou"})
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    if order == "prepared first":
        inject(model, {"rt_detr": "diou"})
    losses = []
    for _ in range(20):
        output = model(
            pixel_values=torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)), labels=labels(model)
        )
        losses.append(output.loss_dict["loss_giou"].item())
        optimizer.zero_grad()
        accelerator.backward(output.loss)
        optimizer.step()
    assert list(injected(model)) == ["rt_detr"]
    assert losses[-1] < 0.9 * losses[0]
