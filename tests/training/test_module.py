"""`DetectionModule` with torchvision detectors, in a trainer of the user's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from guarded import scaled_precision
from pydantic import ValidationError
from runs import TINY, bare_trainer
from tiny_detectors import faster_rcnn
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, Dataset

from detloss import BoxRegressionLoss, inject, validation_losses
from detloss.training import DetectionModule, collate
from detloss.training.data.datamodule import DetectionData, StoredDataset
from detloss.training.data.sources import read_config
from detloss.training.data.synthetic import ShapesDataset
from detloss.training.optimization import learning_rate_factor, parameter_groups
from detloss.training.settings import AugmentConfig, DataConfig, FitConfig, ShapesConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning uses what torch 2.15 deprecates.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class OneBox(Dataset[Any]):
    """Three pictures with a bright square each: a data set of the user's own, without a COCO dictionary."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = torch.zeros(3, 64, 64)
        image[:, 10:40, 10 + index : 40 + index] = 1
        box = torch.tensor([[10.0 + index, 10, 40 + index, 40]])
        return image, {"boxes": box, "labels": torch.tensor([1]), "image_id": torch.tensor(index)}


class Progressing(BoxRegressionLoss):
    """Remembers the progress that it is told."""

    def __init__(self, config: Any = None, **params: Any) -> None:
        super().__init__(config, **params)
        self.register_buffer("progress", torch.tensor(-1.0))
        self.seen: list[float] = []

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.seen.append(float(self.progress))
        return (pred - target).abs().sum(dim=1)


def loader() -> DataLoader[Any]:
    return DataLoader(OneBox(), batch_size=2, collate_fn=collate)


def test_a_users_own_detector_and_data_train_and_evaluate(tmp_path):
    """Any torchvision detector and any data set with image ids train; validation logs COCO's numbers."""
    torch.manual_seed(0)
    module = DetectionModule(faster_rcnn(), FitConfig(optimizer="sgd", lr=1e-3))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    run = bare_trainer(tmp_path, epochs=2)
    run.fit(module, loader(), loader())
    assert {"val/AP", "val/AP50", "train/loss", "train/loss_box_reg", "train/lr"} <= run.callback_metrics.keys()
    assert module.metrics["AP"] >= 0
    assert set(module.detections) == {0, 1, 2}
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


NAMES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


def test_validation_logs_the_losses(tmp_path):
    """`val/loss` and each part are the means over the pictures of the losses in eval mode, injected ones included."""
    torch.manual_seed(0)
    module = DetectionModule(inject(faster_rcnn(), {"roi_heads": "giou"}))
    run = bare_trainer(tmp_path, epochs=1)
    (logged,) = run.validate(module, loader(), verbose=False)
    pictures = [OneBox()[index] for index in range(3)]
    with torch.no_grad(), validation_losses(module.model.eval()):
        first, second = (module.model(*collate(part))[0] for part in (pictures[:2], pictures[2:]))
    for name in NAMES:
        # A batch of 2 and one of 1: each loss is a mean over its batch.
        assert logged[f"val/{name}"] == pytest.approx((2 * float(first[name]) + float(second[name])) / 3)
        assert module.metrics[name] == pytest.approx(logged[f"val/{name}"])
    assert logged["val/loss"] == pytest.approx(sum(logged[f"val/{name}"] for name in NAMES))


class Keeping(nn.Module):
    """A detector that keeps the images it gets, and finds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Tensor] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        self.got += images
        return [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0).long()} for _ in images]


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_images_travel_with_8_bits_and_are_scaled_on_the_device(tmp_path, precision):
    """The loader of a run gives uint8; the detector gets exactly what it gets from a loader of floats."""
    shapes = ShapesDataset(ShapesConfig(train=3, size=64))
    got = []
    assert StoredDataset(shapes)[0][0].dtype == torch.uint8
    loaders = (DetectionData(read_config(TINY), shapes, shapes, shapes), DataLoader(shapes, 2, collate_fn=collate))
    for data in loaders:
        detector = Keeping()
        bare_trainer(tmp_path, precision=precision).test(DetectionModule(detector), data, verbose=False)
        got.append(detector.got)
    for image, expected in zip(*got, strict=True):
        assert image.dtype == (torch.float32 if precision == "32-true" else torch.bfloat16)
        assert torch.equal(image, expected)


def test_a_module_that_logs_no_steps_still_logs_its_evaluation(tmp_path):
    """With `logs=False` training steps log nothing; COCO's numbers are still logged."""
    run = bare_trainer(tmp_path, epochs=1)
    run.fit(DetectionModule(faster_rcnn(), logs=False), loader(), loader())
    assert "val/AP" in run.callback_metrics
    assert not [name for name in run.callback_metrics if name.startswith("train/")]


class NoArea(OneBox):
    """Beside the square a box of (almost) no area, as an annotation may have it."""

    def __init__(self, box: list[float]) -> None:
        self.box = torch.tensor([box])

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, target = super().__getitem__(index)
        return image, {**target, "boxes": torch.cat([target["boxes"], self.box]), "labels": torch.tensor([1, 1])}


# In float32 the second is 3.8e-6 px high, one step of its coordinate 50, which the detector's resize may round away.
@pytest.mark.parametrize("box", [[20, 20, 20, 30], [10, 50, 60, 50.000004]])
def test_a_box_without_area_does_not_stop_validation(tmp_path, box):
    """Where the validation data has a box of no width, or nearly flat, the losses are those without it."""
    module = DetectionModule(faster_rcnn())
    clean, other = (
        bare_trainer(tmp_path).validate(module, DataLoader(data, batch_size=2, collate_fn=collate), verbose=False)[0]
        for data in (OneBox(), NoArea(box))
    )
    assert clean["val/loss"] == other["val/loss"]


class Blind(nn.Module):
    """A detector that is not torchvision's, and finds nothing."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
        return [nothing for _ in images]


def test_another_detector_is_validated_without_losses(tmp_path):
    """A detector that is not torchvision's is evaluated, and has no validation losses."""
    (logged,) = bare_trainer(tmp_path).validate(DetectionModule(Blind()), loader(), verbose=False)
    assert logged["val/AP"] == 0
    assert "val/loss" not in logged


def test_the_step_returns_the_sum_of_the_losses(tmp_path):
    """The loss of a training step is the sum of the detector's loss dictionary."""
    torch.manual_seed(0)
    model = faster_rcnn()
    sums = []

    class Recorder(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert set(outputs["losses"]) == NAMES
            sums.append((float(outputs["loss"]), sum(float(loss) for loss in outputs["losses"].values())))

    run = bare_trainer(tmp_path, epochs=1)
    run.callbacks.append(Recorder())
    run.fit(DetectionModule(model), loader(), loader())
    assert len(sums) == 2
    assert all(total == pytest.approx(expected) for total, expected in sums)


def test_losses_are_told_how_far_the_run_is(tmp_path):
    """A buffer `progress` of a loss is the done fraction of all steps before each step: 0, 1/4, 2/4, 3/4."""
    loss = Progressing()
    model = inject(faster_rcnn(), {"roi_heads": loss})
    run = bare_trainer(tmp_path, epochs=2)  # 3 pictures in batches of 2: 2 steps an epoch, 4 in all
    run.fit(DetectionModule(model), loader(), loader())
    held = next(module for module in model.modules() if isinstance(module, Progressing))
    assert held.seen == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "with a scaler"])
def test_the_gradient_is_clipped_in_any_precision(tmp_path, precision):
    """A step of SGD with rate 1, no momentum and no decay is as long as the gradient: no longer than it may be."""
    torch.manual_seed(0)
    config = FitConfig(optimizer="sgd", lr=1.0, momentum=0, weight_decay=0, schedule="constant", warmup=0)
    module = DetectionModule(faster_rcnn(), config)
    before = parameters_to_vector(module.parameters()).detach()
    how = {"plugins": [scaled_precision()]} if precision == "with a scaler" else {"precision": precision}
    run = bare_trainer(tmp_path, epochs=1, max_steps=1, gradient_clip_val=0.01, **how)
    run.fit(module, loader(), loader())
    step = parameters_to_vector(module.parameters()).detach() - before
    assert step.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_biases_and_norms_do_not_decay():
    """Weight decay is for weights alone; a frozen parameter is in no group."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[2].weight.requires_grad_(False)
    decay, rest = parameter_groups(model, 0.1)
    assert decay["weight_decay"] == 0.1
    assert [tuple(parameter.shape) for parameter in decay["params"]] == [(3, 2)]
    assert rest["weight_decay"] == 0
    assert len(rest["params"]) == 4  # two biases of Linear, weight and bias of BatchNorm


def test_one_cycle_is_torchs():
    """The one-cycle factor equals torch's OneCycleLR with the same share of rising steps."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1)
    # torch's phases end at step 0.3 * 101 - 1 = 29.3 and 100, so 0.293 of the way from step 0 to step 100.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=101, pct_start=0.3, cycle_momentum=False)
    config = FitConfig(schedule="onecycle", warmup=0.293)
    for step in range(101):
        assert learning_rate_factor(config, step / 100) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step < 100:
            schedule.step()


@pytest.mark.parametrize(
    ("schedule", "at", "factor"),
    [
        ("constant", 0.9, 1.0),
        ("cosine", 0.55, 0.5),  # halfway between warm-up's end and the end: (1 + cos(pi / 2)) / 2
        ("cosine", 1.0, 0.0),
        ("step", 0.5, 1.0),
        ("step", 0.7, 0.1),
        ("step", 0.95, 0.01),
        ("step", 0.05, 0.52),  # half of the warm-up: 1/25 + (1 - 1/25) / 2
    ],
)
def test_schedules(schedule, at, factor):
    """Each schedule has the factor that its definition gives, at a fraction of the run."""
    config = FitConfig(schedule=schedule, warmup=0.1)
    assert math.isclose(learning_rate_factor(config, at), factor, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "`train` and `val`"),
        ({"shapes": {}, "train": {"images": "a", "annotations": "b"}}, "remove either"),
    ],
)
def test_data_has_one_source(values, message):
    """Data is either splits of files or synthetic images."""
    with pytest.raises(ValidationError, match=message):
        DataConfig(**values)


def test_scale_jitter_is_ordered():
    """A scale jitter whose least factor is above its greatest is refused."""
    with pytest.raises(ValidationError, match="must be \\[least, greatest\\]"):
        AugmentConfig(scale_jitter=[2.0, 0.5])


def test_sections_are_strict():
    """A mistyped key and a number written as text are errors."""
    with pytest.raises(ValidationError, match="extra"):
        FitConfig(epoch=3)
    with pytest.raises(ValidationError, match="valid integer"):
        ShapesConfig(train="3")
