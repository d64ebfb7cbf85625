"""Export of a trained detector: TorchScript wants the losses ejected, ONNX does not mind them."""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_detectors import HEADS, batch, detector, step
from torch import Tensor, nn

from detloss import InjectionError, eject, inject

BEST = 50
"""Detections that are compared with another runtime's."""

every_head = pytest.mark.parametrize("head", HEADS)


def trained(head: str) -> nn.Module:
    """A detector with GIoU in the head, after a training step, with scores that are not all alike."""
    model = inject(detector(head), {head: "giou"})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    sum(step(model, batch()).values()).backward()
    optimizer.step()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Torchvision starts RetinaNet's and FCOS's classes at nearly equal scores, which any rounding reorders.
            if "classification_head" in name and parameter.ndim > 1:
                parameter.normal_(std=0.2, generator=generator)
    return model.eval()


def detections(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        (found,) = model([image])
    return found


def scripted(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script.* is (deprecated|not supported)", FutureWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.script.* is (deprecated|not supported)", DeprecationWarning)
        return torch.jit.script(model)


def onnx_bytes(model: nn.Module, image: Tensor) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Tracing tells of every Python number that it makes a constant; torchvision is written for that.
        warnings.simplefilter("ignore")
        torch.onnx.export(model, ([image],), buffer, dynamo=False, input_names=["image"], opset_version=18)
    return buffer.getvalue()


@every_head
def test_scripting_an_injected_model_says_what_to_do(head: str) -> None:
    """`torch.jit.script` of a model with losses in it is refused with the way to go on, and changes nothing."""
    model = trained(head)
    expected = detections(model, batch()[0][0])
    with pytest.raises(InjectionError, match=rf"^{head}: TorchScript cannot compile injected losses.*eject them first"):
        scripted(model)
    assert all(torch.equal(value, expected[key]) for key, value in detections(model, batch()[0][0]).items())


@every_head
def test_an_ejected_model_scripts(head: str, tmp_path: Path) -> None:
    """The ejected model scripts, and saved and loaded again it finds what the injected one found."""
    model = trained(head)
    expected = detections(model, batch()[0][0])
    script = scripted(eject(copy.deepcopy(model)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*deprecated", DeprecationWarning)
        script.save(tmp_path / "model.pt")
        loaded = torch.jit.load(tmp_path / "model.pt")
        warnings.filterwarnings("ignore", ".*always returns a .Losses, Detections. tuple in scripting", UserWarning)
        with torch.no_grad():
            _, (found,) = loaded([batch()[0][0]])
    assert len(expected["boxes"]) > 0
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)


@every_head
def test_onnx_of_an_ejected_model(head: str) -> None:
    """The ONNX model of an ejected detector finds in onnxruntime what the detector finds, on another image too."""
    model = trained(head)
    first, other = batch()[0][:2]
    session = onnxruntime.InferenceSession(onnx_bytes(eject(copy.deepcopy(model)), first))
    for image in (first, other):
        expected = detections(model, image)
        found = session.run(None, {"image": image.numpy()})
        assert len(expected["boxes"]) > 0
        for value, onnx in zip(expected.values(), found, strict=True):
            # Far down the list scores are so near to each other that rounding decides their order.
            np.testing.assert_allclose(onnx[:BEST], value[:BEST].numpy(), rtol=1e-4, atol=1e-4)


@every_head
def test_onnx_of_an_injected_model(head: str) -> None:
    """In eval mode the losses leave no trace: the ONNX model of the injected detector is that of the ejected one."""
    model = trained(head)
    image = batch()[0][0]
    assert onnx_bytes(model, image) == onnx_bytes(eject(copy.deepcopy(model)), image)
