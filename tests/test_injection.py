"""Injection changes the given instances and nothing else, survives what users do with models, and can be undone."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import killed
import pytest
import torch
import torchvision
from tiny_detectors import BUILDERS, batch, faster_rcnn, step
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads

from detloss import (
    BoxRegressionLoss,
    ConfigError,
    HeadNotFoundError,
    InjectionError,
    LossSpec,
    UnknownPluginError,
    eject,
    inject,
    injected,
)

STOCK = {"roi_heads": {"name": "smooth_l1", "beta": 1 / 9, "weight": 1}}
GIOU = {"roi_heads": {"name": "giou", "weight": 10}}


class MeanLoss(BoxRegressionLoss):
    """A loss with state: the running mean of its values."""

    space = "deltas"

    def __init__(self, config: object = None, **params: object) -> None:
        super().__init__(config, **params)
        self.register_buffer("mean", torch.ones(()))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = (pred - target).abs().sum(-1)
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * values.detach().mean())
        return values / self.mean


def box_loss(model: nn.Module, seed: int = 0) -> float:
    return step(model, batch(seed))["loss_box_reg"].item()


def test_two_models_never_see_each_others_losses() -> None:
    """Two models of one process keep their own losses, and a third keeps torchvision's."""
    plain, first, second = faster_rcnn(), faster_rcnn(), faster_rcnn()
    stock = box_loss(plain)
    inject(first, {"roi_heads": "l1"})
    inject(second, GIOU)
    values = [box_loss(first), box_loss(second), box_loss(plain)]
    assert len({round(value, 6) for value in values}) == 3
    assert [box_loss(first), box_loss(second), box_loss(plain)] == values
    assert values[2] == stock


def test_nothing_in_torchvision_changes() -> None:
    """Importing and using detloss leaves every module, class and function of torchvision's detection as it was."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith("torchvision.models.detection")}

    def state() -> dict[str, dict[str, int]]:
        found = {name: {key: id(value) for key, value in vars(module).items()} for name, module in modules.items()}
        for module in modules.values():
            for cls in (value for value in vars(module).values() if inspect.isclass(value)):
                found[cls.__qualname__] = {key: id(value) for key, value in vars(cls).items()}
        return found

    before = state()
    model = inject(faster_rcnn(), GIOU)
    box_loss(model)
    eject(model)
    assert state() == before
    assert len(before) > 10


def test_eject_restores_class_and_behaviour() -> None:
    """After eject the head has the very class, attributes, losses and pickle that it had."""
    model = faster_rcnn()
    stock, attributes, pickled = box_loss(model), set(vars(model.roi_heads)), len(pickle.dumps(model))
    inject(model, GIOU)
    assert box_loss(model) != stock
    assert eject(model) is model
    assert type(model.roi_heads) is RoIHeads
    assert set(vars(model.roi_heads)) == attributes
    assert "detloss" not in dict(model.roi_heads.named_children())
    assert box_loss(model) == stock
    assert len(pickle.dumps(model)) == pickled


def test_a_second_injection_replaces_the_first() -> None:
    """Injecting again leaves only the new losses, and one eject is enough."""
    model = inject(inject(faster_rcnn(), STOCK), GIOU)
    assert [term.name for term in injected(model)["roi_heads"].terms] == ["giou"]
    assert box_loss(model) == box_loss(inject(faster_rcnn(), GIOU))
    assert type(eject(model).roi_heads) is RoIHeads


def test_injected_says_what_is_where() -> None:
    """`injected` maps heads to their losses and prints a line a head, with weights and parameters."""
    model = inject(faster_rcnn(), {"roi_heads": [{"name": "smooth_l1", "weight": 0.5}, "giou"]})
    assert str(injected(faster_rcnn())) == "no losses injected"
    printed = str(injected(model))
    assert printed.startswith("roi_heads: 0.5 * smooth_l1(beta=0.111")
    assert " + 10 * giou(" in printed
    positives = inject(faster_rcnn(), {"roi_heads": {"name": "l1", "normalizer": "positives"}})
    assert str(injected(positives)) == "roi_heads: 1 * l1() / positives"


def test_injected_names_two_heads_by_their_paths() -> None:
    """In a module that holds two detectors the keys are the paths of their heads."""
    pair = nn.ModuleDict({"student": inject(faster_rcnn(), GIOU), "teacher": inject(faster_rcnn(), STOCK)})
    assert set(injected(pair)) == {"student.roi_heads", "teacher.roi_heads"}


def test_a_spec_may_be_a_name_a_mapping_a_spec_or_a_loss() -> None:
    """The four ways to say a loss give the same value."""
    ways = [
        "l1",
        {"name": "l1"},
        LossSpec(name="l1"),
        injected(inject(faster_rcnn(), {"roi_heads": "l1"}))["roi_heads"].losses[0],
    ]
    assert len({box_loss(inject(faster_rcnn(), {"roi_heads": way})) for way in ways}) == 1


def test_the_weight_left_out_is_the_recommended_one_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without a weight GIoU gets its published 10 in `roi_heads`, and the log says so."""
    with caplog.at_level(logging.INFO, logger="detloss"):
        model = inject(faster_rcnn(), {"roi_heads": "giou"})
    assert injected(model)["roi_heads"].terms[0].weight == 10
    assert "roi_heads: giou gets weight 10 (its recommended weight" in caplog.text


def test_row_06_a_head_by_package_and_name() -> None:
    """``package:name``, for where two packages claim a head's name, is that head, with its recommended weights."""
    (losses,) = injected(inject(faster_rcnn(), {"detloss:roi_heads": "giou"})).values()
    assert (losses.head, losses.terms[0].weight) == ("roi_heads", 10)
    with pytest.raises(InjectionError, match="is given twice"):
        inject(faster_rcnn(), {"roi_heads": "l1", "detloss:roi_heads": "giou"})


def test_a_loss_without_a_recommended_weight_gets_1_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A loss that recommends nothing for the head runs with weight 1."""
    with caplog.at_level(logging.INFO, logger="detloss"):
        model = inject(faster_rcnn(), {"roi_heads": MeanLoss()})
    assert injected(model)["roi_heads"].terms[0].weight == 1
    assert "none is recommended" in caplog.text


@pytest.mark.parametrize("losses", [{"roi_heads": "giou", "rpn_head": "l1"}, {"roi_heads": "l1", "roi_head": "giou"}])
def test_an_unknown_head_changes_nothing(losses: dict[str, str]) -> None:
    """A head name that nobody knows is refused with near names, before anything changes."""
    model = faster_rcnn()
    with pytest.raises(UnknownPluginError, match=r"roi_heads|rpn"):
        inject(model, losses)
    assert type(model.roi_heads) is RoIHeads


def test_a_model_without_the_head_is_refused() -> None:
    """A model that has no RoI head is told so."""
    with pytest.raises(HeadNotFoundError, match=r"this Linear has no RoIHeads\. Its heads: none"):
        inject(nn.Linear(1, 1), GIOU)


def test_two_heads_of_one_kind_are_refused() -> None:
    """A module that holds two detectors is not guessed about: both paths are named."""
    pair = nn.ModuleDict({"student": faster_rcnn(), "teacher": faster_rcnn()})
    with pytest.raises(InjectionError, match=r"student\.roi_heads, teacher\.roi_heads"):
        inject(pair, GIOU)


def test_an_empty_list_of_losses_is_refused() -> None:
    """No losses at all is not a way to eject."""
    with pytest.raises(InjectionError, match="use eject"):
        inject(faster_rcnn(), {"roi_heads": []})


def test_ejecting_what_is_not_there_is_refused() -> None:
    """Eject of a head without injected losses names the heads that have some, and changes nothing."""
    model = inject(faster_rcnn(), GIOU)
    with pytest.raises(HeadNotFoundError, match="heads with losses: roi_heads"):
        eject(model, ["roi_heads", "rpn"])
    assert "roi_heads" in injected(model)


@pytest.mark.parametrize("detector", BUILDERS)
@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "torch.save"])
def test_a_copy_of_the_model_keeps_its_losses(detector: str, copied: str) -> None:
    """deepcopy, pickle and torch.save of the whole model give a model with the same losses, of its own."""
    model = inject(BUILDERS[detector](), GIOU)
    if copied == "deepcopy":
        other = copy.deepcopy(model)
    elif copied == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert str(injected(other)) == str(injected(model))
    assert box_loss(other) == box_loss(model)
    eject(other)
    assert "roi_heads" in injected(model)
    assert type(other.roi_heads) is RoIHeads


def test_a_pickled_model_loads_in_a_new_process(tmp_path: Path) -> None:
    """A model saved whole loads in a process that has not imported detloss, losses included."""
    torch.save(inject(faster_rcnn(), GIOU), tmp_path / "model.pt")
    code = "import sys, torch; model = torch.load(sys.argv[1], weights_only=False); import detloss; "
    code += "print(detloss.injected(model))"
    support = str(Path(__file__).parent / "support")
    done = killed.python("-c", code, str(tmp_path / "model.pt"), PYTHONPATH=support)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("roi_heads: 10 * giou(")


def test_state_dicts_go_to_and_from_a_plain_model() -> None:
    """`load_state_dict`, strict, works from a plain torchvision model and into one."""
    plain, model = faster_rcnn(seed=1), inject(faster_rcnn(seed=2), GIOU)
    model.load_state_dict(plain.state_dict())
    fresh = faster_rcnn(seed=3)
    fresh.load_state_dict(model.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_the_state_of_a_loss_is_saved_and_may_be_missing() -> None:
    """A loss with a buffer adds its key and gets it back; a plain model's checkpoint leaves it as it is."""
    model = inject(faster_rcnn(), {"roi_heads": MeanLoss()})
    box_loss(model)
    key = "roi_heads.detloss.losses.0.mean"
    saved = model.state_dict()
    assert set(saved) - set(faster_rcnn().state_dict()) == {key}
    assert saved[key] != 1
    other = inject(faster_rcnn(), {"roi_heads": MeanLoss()})
    other.load_state_dict(saved)
    assert torch.equal(other.state_dict()[key], saved[key])
    other.load_state_dict(faster_rcnn().state_dict())
    assert torch.equal(other.state_dict()[key], saved[key])


def test_the_torchvision_of_this_test_is_the_real_one() -> None:
    """The tests above ran on torchvision's own operators."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0]])
    assert torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0]


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("giou", r"inject: the losses are not a mapping \(found 'giou'\)"),
        (None, "found None"),
        ({"roi_heads": 3}, "roi_heads: a loss is a name or a mapping with the key name, found 3"),
        ({"roi_heads": None}, "roi_heads: a loss is a name or a mapping"),
        ({"roi_heads": {"name": "giou", "weight": "2"}}, "roi_heads.weight: should be a valid number, found '2'"),
        ({"roi_heads": ["giou", {"name": "giou", "esp": 1}]}, "roi_heads.1.esp: unknown key; did you mean 'eps'"),
    ],
)
def test_wrong_losses_are_findings(losses: Any, message: str) -> None:
    """What is wrong with the losses is said as of a config, and the model stays as it is."""
    model = faster_rcnn()
    with pytest.raises(ConfigError, match=message):
        inject(model, losses)
    assert type(model.roi_heads) is RoIHeads
