"""The guard: a loss that becomes NaN in mid-training, in real detectors, optimizers and trainers."""

from __future__ import annotations

import copy
import math
import pickle
from collections import Counter
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from guarded import (
    BAD_PICTURE,
    BAD_STEP,
    BrokenLoss,
    FusedAdamW,
    FusedSGD,
    Pictures,
    PlainAdamW,
    Snapshots,
    guarded_run,
    left_edge,
    loader,
    module,
    only_unchanged,
    same,
    scaled_precision,
    trainer,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Subset

from detloss import BoxRegressionLoss, NonFiniteError, inject, injected, register
from detloss.config.read_yaml import read_yaml
from detloss.training import DetectionModule, FitConfig, Guard, TrainConfig, collate
from detloss.training.callbacks import MetricsFile, read_metrics
from detloss.training.guard import MOST_IN_A_ROW
from detloss.training.trainer import quiet_lightning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU"),
    # Lightning uses what torch 2.15 deprecates.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


def fit(**options: Any) -> FitConfig:
    return FitConfig(**{"lr": 1e-3, "schedule": "constant", **options})


def is_finite(trained: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in trained.state_dict().values())


OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0},
    "clip": {"clip": 0.1},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "clip in bf16-mixed": {"precision": "bf16-mixed", "clip": 0.1},
    "64-true": {"precision": "64-true"},
}


@pytest.mark.parametrize("what", ["value", "gradient"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_row_30_a_skipped_step_changes_nothing(tmp_path, options, what):
    """Skipped, the step of a NaN changes no bit of weights, optimizer and buffers; every other step changes them."""
    guard = Guard("skip")
    snapshots, trained = guarded_run(tmp_path, fit(**options), guard, picture=BAD_PICTURE, what=what)
    assert len(snapshots) == 1 + 4
    assert only_unchanged(snapshots) == [BAD_STEP]
    assert guard.skipped == 1
    assert is_finite(trained)


def test_row_30_accumulated_batches_are_skipped_together(tmp_path):
    """Where two batches make a step, one bad batch makes the step bad, and the report says which batch it is."""
    guard = Guard("skip")
    snapshots, trained = guarded_run(tmp_path, fit(accumulate=2), guard, picture=BAD_PICTURE)
    # Batches 1 and 2 make step 1, batches 3 and 4 step 2.
    assert only_unchanged(snapshots) == [2]
    assert is_finite(trained)
    with pytest.raises(NonFiniteError, match=r"(?s)^Step 2 .*\n  batch 3:\n    loss_box_reg is nan\n"):
        guarded_run(tmp_path, fit(accumulate=2), Guard(), picture=BAD_PICTURE)


@pytest.mark.parametrize("kind", [PlainAdamW, FusedAdamW, FusedSGD])
@pytest.mark.parametrize("picture", [0, BAD_PICTURE])
def test_an_optimizer_of_ones_own_is_kept_from_the_step(tmp_path, kind, picture):
    """An optimizer that detloss did not make, fused or not, leaves the step out too, also where it is its first."""
    snapshots, trained = guarded_run(tmp_path, fit(), Guard("skip"), kind=kind, picture=picture)
    assert only_unchanged([weights for weights, _ in snapshots]) == [1 if picture == 0 else BAD_STEP]
    assert is_finite(trained)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_row_30_the_first_step_can_be_skipped(tmp_path, optimizer):
    """Where the very first step is bad the weights stay, and the optimizer holds nothing but zeros."""
    snapshots, trained = guarded_run(tmp_path, fit(optimizer=optimizer), Guard("skip"), picture=0)
    assert only_unchanged([weights for weights, _ in snapshots]) == [1]
    states = snapshots[1][1]
    assert len(states) == len(list(trained.parameters()))
    assert not any(bool(value.any()) for state in states.values() for value in state.values())
    assert is_finite(trained)


def test_row_30_without_the_guard_the_weights_are_poisoned(tmp_path):
    """The same run without a guard ends with weights that are not finite: the loss of these tests does break."""
    _, trained = guarded_run(tmp_path, fit(), None, picture=BAD_PICTURE)
    assert not is_finite(trained)


def test_row_30_the_error_names_plugin_head_step_and_rows(tmp_path, monkeypatch):
    """`raise` names step, epoch, head, loss, package and each bad pair with its boxes, value and gradient."""
    monkeypatch.setattr("detloss.registry._registered", {})
    register(BrokenLoss, "broken")
    snapshots, broken = Snapshots(), module(fit())
    inject(broken.model, {"roi_heads": {"name": "broken", "picture": BAD_PICTURE, "weight": 2.0}})
    with pytest.raises(NonFiniteError) as caught:
        trainer(tmp_path, Guard(), snapshots).fit(broken, loader())
    report = str(caught.value).splitlines()
    assert report[0] == f"Step {BAD_STEP} (epoch 1/1) became NaN or infinite."
    assert report[1] == "  loss_box_reg is nan"
    (loss,) = injected(broken)["roi_heads"].each()
    rows = loss.rows[BAD_STEP - 1]
    module_of = BrokenLoss.__module__
    assert report[2].startswith(
        f"  roi_heads: the loss 'broken' (BrokenLoss of the module {module_of}, registered there)"
    )
    assert f": {len(rows)} of " in report[2]
    for row, line in zip(rows, report[3:], strict=False):
        assert line.startswith(f"    row {row}: pred (")
        assert f"target ({left_edge(BAD_PICTURE):g}, 10, {left_edge(BAD_PICTURE) + 30:g}, 40), value nan, " in line
    assert report[-1] == ("The weights, the optimizer's state and the buffers are those from before this step.")
    # The error comes with the step after; neither that one nor the bad one has changed anything.
    assert len(snapshots.taken) == 1 + BAD_STEP
    assert same(snapshots.taken[-1][0], broken.state_dict())
    assert injected(broken)["roi_heads"].kept is None
    assert only_unchanged(snapshots.taken) == [BAD_STEP]


def test_row_30_the_row_at_fault_is_told_from_those_it_spoils(tmp_path):
    """Where a running mean makes every pair of the batch NaN, the one pair that it began with is named."""
    with pytest.raises(NonFiniteError) as caught:
        guarded_run(tmp_path, fit(), Guard(), picture=BAD_PICTURE, spreads=True)
    assert "1 of 2 pairs" in str(caught.value)
    assert f"target ({left_edge(BAD_PICTURE):g}, 10, " in str(caught.value)


class NaNOnce(BoxRegressionLoss):
    """L1 that is NaN in one of its calls, whatever it is given."""

    calls = 0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return (pred - target).abs().sum(dim=1) * (math.nan if self.calls == BAD_STEP else 1)


def test_a_loss_whose_fault_does_not_come_back_is_named_too(tmp_path):
    """Where a loss was NaN, and is finite for the same pairs when computed again, head and loss are still named."""
    trained = module(fit())
    inject(trained.model, {"roi_heads": NaNOnce()})
    with pytest.raises(NonFiniteError) as caught:
        trainer(tmp_path, Guard()).fit(trained, loader())
    who = f"  roi_heads: the loss NaNOnce of the module {NaNOnce.__module__} gave nan for "
    assert str(caught.value).splitlines()[2].startswith(who)
    assert "finite for each of them when computed again" in str(caught.value)


class Blowing(nn.Module):
    """A box predictor whose class scores are infinite in one of its calls."""

    def __init__(self, predictor: nn.Module, call: int) -> None:
        super().__init__()
        self.predictor, self.call, self.calls = predictor, call, 0

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = self.predictor(features)
        self.calls += 1
        return (scores * math.inf if self.calls == self.call else scores), deltas


def test_torchvisions_own_losses_are_named(tmp_path):
    """Where the classifier's loss is at fault, its key is named, and no box loss is blamed."""
    trained = module(fit())
    trained.model.roi_heads.box_predictor = Blowing(trained.model.roi_heads.box_predictor, BAD_STEP)
    with pytest.raises(NonFiniteError) as caught:
        trainer(tmp_path, Guard()).fit(trained, loader())
    lines = str(caught.value).splitlines()
    assert lines[:2] == [f"Step {BAD_STEP} (epoch 1/1) became NaN or infinite.", "  loss_classifier is nan"]
    assert "pairs give" not in str(caught.value)
    assert "first model.backbone.0.weight, last model.roi_heads.box_predictor.predictor.cls_score" in lines[2]


def test_a_bad_picture_is_named(tmp_path):
    """A picture with a NaN pixel is the first thing said, by its place in the batch and its id."""
    message = r"\n  image 2 of the batch \(image_id 105\) has pixels that are NaN or infinite\n"
    with pytest.raises(NonFiniteError, match=message) as caught:
        guarded_run(tmp_path, fit(), Guard(), loader(bad_pixel=BAD_PICTURE))
    assert "the prediction itself is not finite: the fault is before the loss" in str(caught.value)


def test_a_bad_last_step_is_an_error_before_the_evaluation(tmp_path):
    """A fault in the last step of an epoch raises before the epoch is evaluated, whatever step comes next."""

    class Evaluations(pl.Callback):
        begun = 0

        def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.begun += 1

    evaluations = Evaluations()
    with pytest.raises(NonFiniteError, match=r"^Step 4 \(epoch 1/1\)"):
        trainer(tmp_path, Guard(), evaluations, num_sanity_val_steps=0).fit(
            module(fit(), picture=7), loader(), loader(2)
        )
    assert evaluations.begun == 0


def test_every_skip_is_logged_and_counted(tmp_path, caplog):
    """Each skipped step gets a warning with the report, and a line in metrics.jsonl with the number of skips so far."""
    metrics = MetricsFile(tmp_path / "metrics.jsonl", every=1)
    pictures = Subset(Pictures(8), [0, 5, 1, 2, 5, 3])
    batches = DataLoader(pictures, batch_size=2, collate_fn=collate)
    trainer(tmp_path, metrics, Guard("skip", metrics)).fit(module(fit(), picture=BAD_PICTURE), batches)
    # Pictures (0, 5), (1, 2), (5, 3): steps 1 and 3 are bad. Lines of step 1 and 2, then step 3's at the epoch's end.
    lines = [line for line in read_metrics(metrics.path) if "train/skipped" in line]
    assert [(line["step"], line["train/skipped"]) for line in lines] == [(1, 1), (3, 2)]
    warnings = [record.getMessage() for record in caplog.records if record.name == "detloss.training.guard"]
    assert [text.splitlines()[0].split(" (")[0] for text in warnings] == ["Step 1", "Step 3"]
    assert [text.splitlines()[-1] for text in warnings] == [f"The step is skipped: {n} so far." for n in (1, 2)]
    name = "train/loss_box_reg"
    losses = {line["step"]: line[name] for line in read_metrics(metrics.path) if name in line}
    assert [step for step, value in losses.items() if value is None] == [1, 3]


def repeated(pictures: list[int]) -> DataLoader[Any]:
    return DataLoader(Subset(Pictures(8), pictures), batch_size=1, collate_fn=collate)


def test_skipping_without_end_is_an_error(tmp_path, caplog):
    """When so many steps in a row are bad that nothing will mend it, `skip` raises too; a good one between resets.

    The log explains the first ten, and has two lines for each of the others.
    """
    guard = Guard("skip")
    almost = [BAD_PICTURE] * (MOST_IN_A_ROW - 1)
    guarded_run(tmp_path, fit(), guard, repeated([*almost, 0, *almost]), picture=BAD_PICTURE)
    assert guard.skipped == 2 * (MOST_IN_A_ROW - 1)
    reports = [record.getMessage() for record in caplog.records if record.name == "detloss.training.guard"]
    assert ["row 0: pred" in report for report in reports] == [True] * 10 + [False] * (guard.skipped - 10)
    assert reports[-1].splitlines()[1:] == [f"The step is skipped: {guard.skipped} so far."]
    with pytest.raises(NonFiniteError, match=f"None of the last {MOST_IN_A_ROW} steps could be taken"):
        guarded_run(tmp_path, fit(), Guard("skip"), repeated([*almost, BAD_PICTURE, 0]), picture=BAD_PICTURE)


def test_no_checkpoint_is_written_after_a_bad_step(tmp_path):
    """A checkpoint that is asked for right after a bad step is not written by `raise`; by `skip` it has the count."""

    class SaveAfter(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == BAD_STEP:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    with pytest.raises(NonFiniteError, match=f"^Step {BAD_STEP} "):
        trainer(tmp_path, Guard(), SaveAfter()).fit(module(fit(), picture=BAD_PICTURE), loader())
    assert not (tmp_path / "a.ckpt").exists()
    trainer(tmp_path, Guard("skip"), SaveAfter()).fit(module(fit(), picture=BAD_PICTURE), loader())
    resumed, trained = Guard("skip"), module(fit(), picture=BAD_PICTURE)
    with pytest.warns(match="your dataloader is not resumable"):
        trainer(tmp_path, resumed).fit(trained, loader(), ckpt_path=tmp_path / "a.ckpt")
    assert resumed.skipped == 1
    assert is_finite(trained)


class Scaled(pl.Callback):
    """Remembers the gradient scaler's scale after each step."""

    def __init__(self) -> None:
        self.scales: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.scales.append(trainer.precision_plugin.scaler.get_scale())


@pytest.mark.parametrize("kind", [DetectionModule, PlainAdamW, FusedAdamW])
@pytest.mark.parametrize(("what", "faults", "factor"), [("gradient", 0, 0.5), ("value", 1, 1)])
def test_a_gradient_scaler_keeps_its_own_work(tmp_path, kind, what, faults, factor):
    """Under a gradient scaler an infinite gradient is skipped by the scaler and is no fault; a NaN loss is one."""
    guard, scaled, snapshots = Guard("skip"), Scaled(), Snapshots()
    trained = module(fit(), kind, picture=BAD_PICTURE, what=what)
    trainer(tmp_path, guard, scaled, snapshots, plugins=[scaled_precision()]).fit(trained, loader())
    assert guard.skipped == faults
    assert only_unchanged([optimizer_state for _, optimizer_state in snapshots.taken]) == [BAD_STEP]
    # A scaler starts at 2^16 and halves where it sees an infinite gradient; the NaN value has a gradient of 0.
    assert scaled.scales == [65536.0, 65536.0, 65536.0 * factor, 65536.0 * factor]


def test_a_gradient_scaler_does_not_skip_for_ever(tmp_path):
    """Where every gradient is NaN no loss scale helps: the scaler's skips become an error, also on `skip`."""
    trained, snapshots = module(fit(), picture=BAD_PICTURE, what="gradient"), Snapshots()
    bad = repeated([0] + [BAD_PICTURE] * (MOST_IN_A_ROW + 5))
    # One good step, then as many bad ones.
    with pytest.raises(NonFiniteError, match=f"(?s)^Step {1 + MOST_IN_A_ROW} .*None of the last {MOST_IN_A_ROW}"):
        trainer(tmp_path, Guard("skip"), snapshots, plugins=[scaled_precision()]).fit(trained, bad)
    # The error says so: weights, optimizer and buffers are as they were before the last of them.
    assert same(snapshots.taken[MOST_IN_A_ROW][0], trained.state_dict())


def test_row_30_a_resumed_run_counts_on_the_skips_of_its_gradient_scaler(tmp_path):
    """A run that is killed amid the scaler's skips and resumed stops at the step at which it would have stopped."""
    bad = repeated([BAD_PICTURE] * (MOST_IN_A_ROW - 1))

    def run() -> tuple[pl.Trainer, DetectionModule]:
        made = trainer(tmp_path, Guard("skip"), max_epochs=2, plugins=[scaled_precision()])
        return made, module(fit(), picture=BAD_PICTURE, what="gradient")

    first, trained = run()
    first.fit_loop.max_epochs = 1
    with quiet_lightning():
        first.fit(trained, bad)
    first.save_checkpoint(tmp_path / "a.ckpt")
    resumed, trained = run()
    with pytest.raises(NonFiniteError, match=f"(?s)^Step {MOST_IN_A_ROW} .*None of the last {MOST_IN_A_ROW}"):
        resumed.fit(trained, bad, ckpt_path=tmp_path / "a.ckpt")


@pytest.mark.parametrize(("first", "second"), [("scaled", "32-true"), ("32-true", "scaled")])
def test_a_run_that_is_resumed_in_another_precision_keeps_its_guard(tmp_path, first, second):
    """A checkpoint says nothing of how an optimizer computes: in either precision the bad step is left out."""

    def run(precision: str, epochs: int, **resume: Any) -> None:
        guard, trained = Guard("skip"), module(fit(), picture=BAD_PICTURE)
        how = {"plugins": [scaled_precision()]} if precision == "scaled" else {"precision": precision}
        made = trainer(tmp_path, guard, max_epochs=epochs, **how)
        with quiet_lightning():
            made.fit(trained, loader(), **resume)
        made.save_checkpoint(tmp_path / "a.ckpt")
        assert guard.skipped == epochs
        assert is_finite(trained)
        assert [group["fused"] for group in made.optimizers[0].param_groups] == [precision != "scaled"] * 2

    run(first, 1)
    run(second, 2, ckpt_path=tmp_path / "a.ckpt")


def test_a_gradient_scaler_that_is_switched_off_leaves_its_work_to_the_guard(tmp_path):
    """A scaler with `enabled=False` skips nothing: an infinite gradient is a fault as without it."""
    precision = scaled_precision()
    precision.scaler = torch.amp.GradScaler("cpu", enabled=False)
    guard, snapshots = Guard("skip"), Snapshots()
    trained = module(fit(), picture=BAD_PICTURE, what="gradient")
    trainer(tmp_path, guard, snapshots, plugins=[precision]).fit(trained, loader())
    assert only_unchanged(snapshots.taken) == [BAD_STEP]
    assert guard.skipped == 1


class Calls(TorchDispatchMode):
    """Counts what torch dispatches; `_local_scalar_dense` is the question for a number that waits for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("mode", ["raise", "skip"])
def test_a_good_step_asks_the_device_for_nothing(tmp_path, mode, optimizer):
    """A training without faults asks a device for a number as often with the guard as without it."""
    counts = {}
    for name, guard in (("without", None), ("with", Guard(mode))):
        with Calls() as calls:
            guarded_run(tmp_path, fit(optimizer=optimizer), guard)
        counts[name] = calls.counts
    assert counts["with"]["_local_scalar_dense"] == counts["without"]["_local_scalar_dense"]
    assert counts["with"]["nonzero"] == counts["without"]["nonzero"]
    # It did look: the greatest values of gradients and inputs, which nothing else asks for.
    assert counts["with"]["aminmax"] > 4 * 20  # parameters in each of 4 steps
    assert counts["without"]["aminmax"] == 0


def test_the_guard_changes_no_bit_of_a_good_run(tmp_path):
    """Without faults, weights and optimizer state after every step are the same with the guard and without it."""
    (bare, _), (watched, _) = (guarded_run(tmp_path, fit(), guard) for guard in (None, Guard()))
    assert len(bare) == 1 + 4
    assert all(same(one, other) for one, other in zip(bare, watched, strict=True))


def test_nothing_is_kept_without_a_guard(tmp_path):
    """Losses keep what they are given only while a guard watches, and never in the state dict or in a copy."""
    trained = module(fit())
    losses = injected(trained)["roi_heads"]
    keys = list(losses.state_dict())
    trainer(tmp_path).fit(trained, loader(2))
    assert losses.kept is None

    class During(pl.Callback):
        seen: list[int]

        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            self.seen = [len(losses.kept or [])]

    during = During()
    trainer(tmp_path, during, Guard()).fit(trained, loader(2))
    assert during.seen == [1]
    assert losses.kept is None
    losses.kept = []
    trained.model.train()
    trained.model(*collate([Pictures(1)[0]]))
    assert [pairs.head for pairs in losses.kept] == ["roi_heads"]
    assert not losses.kept[0].pred.requires_grad
    assert list(losses.state_dict()) == keys
    assert copy.deepcopy(losses).kept is None
    assert pickle.loads(pickle.dumps(losses)).kept is None


def test_the_default_is_to_raise():
    """`train.guard` is raise where a config says nothing; the bare word off is off."""
    assert FitConfig().guard == "raise"
    base = {"model": "fasterrcnn", "backbone": "mobilenet_v2", "data": {"shapes": {}}}
    for word, mode in (("off", "off"), ("skip", "skip"), ('"off"', "off")):
        train = read_yaml(f"guard: {word}").data
        assert TrainConfig.model_validate({**base, "train": train}).train.guard == mode
    with pytest.raises(ValueError, match="guard"):
        FitConfig(guard=True)
    with pytest.raises(ValueError, match="write 'raise' or 'skip', or use no guard"):
        Guard("off")
