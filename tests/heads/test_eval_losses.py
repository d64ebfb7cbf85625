"""In eval mode a detector returns its losses and its detections, and nothing of it changes."""

from __future__ import annotations

import pytest
import torch
from tiny_detectors import BOX_LOSS, HEADS, batch, detector, keypoint_rcnn, mask_rcnn
from torch import Tensor, nn

from detloss import InjectionError, inject, validation_losses
from detloss.heads.eval_losses import SAMPLER_SEED

DETECTORS = {head: lambda head=head: detector(head) for head in HEADS} | {"mask": mask_rcnn, "keypoint": keypoint_rcnn}
every_detector = pytest.mark.parametrize("name", DETECTORS)


def training_losses(model: nn.Module) -> dict[str, Tensor]:
    """The losses of a training step on images resized as in eval: in training that draws a random number."""
    model.train()
    model.transform.eval()
    torch.manual_seed(SAMPLER_SEED)
    return model(*batch())


@every_detector
def test_losses_are_those_of_training_and_detections_those_of_eval(name: str) -> None:
    """Without batch norm or dropout the losses equal a training step's, and the detections are eval's, bit for bit."""
    model = DETECTORS[name]()
    expected_losses = training_losses(model)
    model.eval()
    images, targets = batch()
    with torch.no_grad():
        expected = model(images)
        with validation_losses(model):
            losses, detections = model(images, targets)
    assert losses.keys() == expected_losses.keys()
    for key, value in expected_losses.items():
        assert torch.equal(losses[key], value), key
    for one, other in zip(detections, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert len(one["boxes"]) > 0


@pytest.mark.parametrize("head", HEADS)
def test_injected_losses_count(head: str) -> None:
    """The box loss in eval mode is the injected one."""
    model = inject(detector(head), {head: {"name": "giou", "weight": 7}})
    expected = training_losses(model)[BOX_LOSS[head]]
    with torch.no_grad(), validation_losses(model.eval()):
        losses, _ = model(*batch())
    assert torch.equal(losses[BOX_LOSS[head]], expected)


@every_detector
def test_nothing_of_the_model_changes(name: str) -> None:
    """Batch norm and dropout stay in eval, the mode and classes come back, and the random state is left alone."""
    model = DETECTORS[name]()
    model.backbone.add_module("norm", nn.BatchNorm2d(model.backbone[2].out_channels))
    seen = []
    model.backbone.norm.register_forward_hook(lambda module, *_: seen.append(module.training))
    model.eval()
    types = [type(module) for module in model.modules()]
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with torch.no_grad(), validation_losses(model):
        model(*batch())
    assert seen == [False], "one pass through the backbone, with batch norm in eval mode"
    assert [type(module) for module in model.modules()] == types
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert "backbone" not in vars(model)


def test_the_same_batch_gives_the_same_losses() -> None:
    """The samplers draw from a fixed seed, so validation losses of two epochs can be compared."""
    model = detector("roi_heads").eval()
    with torch.no_grad(), validation_losses(model):
        first, second = (model(*batch())[0] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_images_without_targets_give_detections_alone() -> None:
    """Called without targets the model does in the context what it does outside."""
    model = detector("fcos").eval()
    with torch.no_grad(), validation_losses(model):
        (detections,) = model(batch(counts=(1,))[0])
    assert "boxes" in detections


def test_a_model_around_the_detector_works() -> None:
    """A module that calls the detector passes the pair through."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = detector("ssd")

        def forward(self, *args: object) -> object:
            return self.inner(*args)

    model = Around().eval()
    with torch.no_grad(), validation_losses(model):
        losses, detections = model(*batch())
    assert set(losses) == {"bbox_regression", "classification"}
    assert len(detections) == 2


def test_an_error_inside_restores_the_model() -> None:
    """After an exception in the context the classes and flags are what they were."""
    model = detector("roi_heads").eval()
    types = [type(module) for module in model.modules()]
    with pytest.raises(KeyError), validation_losses(model):
        model(batch()[0], [{}, {}])
    assert [type(module) for module in model.modules()] == types
    assert not any(module.training for module in model.modules())


def test_training_mode_and_other_modules_are_refused() -> None:
    """A model in training mode, and one that is no detector, are told what to do."""
    with pytest.raises(InjectionError, match=r"Fix: model\.eval\(\)"), validation_losses(detector("rpn")):
        pass
    with (
        pytest.raises(InjectionError, match="this Linear has no torchvision detector"),
        validation_losses(nn.Linear(1, 1)),
    ):
        pass
