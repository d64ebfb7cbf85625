"""The losses of a detector in eval mode."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.ssd import SSD

from detloss.errors import InjectionError
from detloss.heads.base import HeadAdapter

DETECTORS = (GeneralizedRCNN, RetinaNet, FCOS, SSD)
"""Torchvision's detectors; the `training` flag decides if they compute losses or detections."""

_PARTS = (RegionProposalNetwork, RoIHeads)

SAMPLER_SEED = 0
"""Proposals and anchors are sampled at random; this seed makes it the same for the same batch."""


@contextmanager
def validation_losses(model: nn.Module) -> Iterator[nn.Module]:
    """Make a detector in eval mode return losses and detections.

    ::

        model.eval()
        with torch.no_grad(), validation_losses(model):
            losses, detections = model(images, targets)

    The losses are those of training, injected losses included. Everything except the detector itself stays in eval
    mode: batch norm, dropout and the resizing of images. The samplers use a fixed seed, and the random state outside
    does not change. The backbone runs once for both. Without targets the model returns only detections.

    Args:
        model: A torchvision detector, or a module that holds one or several, such as a DistributedDataParallel.

    Yields:
        `model` itself.

    Raises:
        InjectionError: `model` has no torchvision detector, or one in training mode.
    """
    detectors = [module for module in model.modules() if isinstance(module, DETECTORS)]
    if not detectors:
        raise InjectionError(f"validation_losses: this {type(model).__name__} has no torchvision detector.")
    if training := [type(detector).__name__ for detector in detectors if detector.training]:
        raise InjectionError(f"validation_losses: this {training[0]} is in training mode. Fix: model.eval().")
    with ExitStack() as stack:
        for detector in detectors:
            stack.enter_context(_returning_both(detector))
        yield model


@contextmanager
def _returning_both(detector: nn.Module) -> Iterator[None]:
    # An attribute of the instance, not a class: it also comes before a `forward` that accelerate set on the instance.
    own = vars(detector).get("forward")
    vars(detector)["forward"] = partial(_losses_and_detections, detector, own)
    try:
        yield
    finally:
        del vars(detector)["forward"]
        if own is not None:
            vars(detector)["forward"] = own


def _losses_and_detections(
    detector: Any,
    own: Callable[..., Any] | None,
    images: list[Tensor],
    targets: list[dict[str, Tensor]] | None = None,
) -> Any:
    forward = own or partial(type(detector).forward, detector)
    if targets is None:
        return forward(images)
    features: list[Any] = []
    hook = detector.backbone.register_forward_hook(lambda _module, _args, output: features.append(output))
    try:
        with _computing_losses(detector):
            losses = forward(images, targets)
    finally:
        hook.remove()
    # An entry of the instance hides the submodule: no second pass for the same images.
    vars(detector)["backbone"] = lambda _images: features[0]
    try:
        return losses, forward(images)
    finally:
        del vars(detector)["backbone"]


@contextmanager
def _computing_losses(detector: nn.Module) -> Iterator[None]:
    """Let the detector compute losses, with seeded samplers.

    Nothing below the detector changes.
    """
    parts = [part for part in detector.modules() if part is detector or isinstance(part, (HeadAdapter, *_PARTS))]
    devices = {parameter.device for parameter in detector.parameters() if parameter.device.type == "cuda"}
    record = detector.recording() if isinstance(detector, HeadAdapter) else nullcontext()
    with torch.random.fork_rng(devices=sorted(devices, key=str)), record:
        torch.manual_seed(SAMPLER_SEED)
        for part in parts:
            part.training = True
        try:
            yield
        finally:
            for part in parts:
                part.training = False
