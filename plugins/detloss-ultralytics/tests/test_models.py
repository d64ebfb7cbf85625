"""What an injected model of ultralytics still does, and which models are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_yolos import Batch, step

from detloss import AlreadyPatchedError, InjectionError, eject, inject, injected
from detloss.testing import check_head


@pytest.mark.parametrize("head", ["yolo", "yolo_rtdetr"])
def test_a_head_keeps_its_promises(head: str) -> None:
    """Both adapters pass the checks of every head."""
    report = check_head(head)
    assert report.passed, report.summary


@pytest.mark.parametrize(("name", "head"), [("yolo26n", "yolo"), ("yolov8n-rtdetr", "yolo_rtdetr")])
def test_eject_restores_the_model(name: str, head: str, build: Callable[[str], Any], batch: Batch) -> None:
    """After eject class, losses and gradients are those of before, whenever the criterion was made."""
    model, cls = build(name), type(build(name))
    stock = step(model, batch)
    criterion = model.criterion
    inject(model, {head: "nwd"})
    changed = step(model, batch)
    assert model.criterion is criterion
    model.criterion = None
    assert step(model, batch)[0].tolist() == changed[0].tolist()
    eject(model)
    assert type(model) is cls
    found = step(model, batch)
    assert found[0].tolist() == stock[0].tolist()
    assert all(torch.equal(found[2][key], stock[2][key]) for key in stock[2])
    assert not any("detloss" in key for key in model.state_dict())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolov8n-rtdetr", "found the criterion of RTDETRDetectionModel, expected that of DetectionModel.*yolo_rtdetr"),
        ("OBBModel", "a OBBModel computes another loss.*Fix: give a model for detection"),
        ("SegmentationModel", "found the criterion of SegmentationModel"),
    ],
)
def test_other_models_are_refused(name: str, message: str, build: Callable[[str], Any]) -> None:
    """A model with another box loss than CIoU of its own criterion is refused, and does not change."""
    from ultralytics.nn import tasks

    files = {"OBBModel": "yolo11n-obb", "SegmentationModel": "yolo11n-seg"}
    model = getattr(tasks, name)(f"{files[name]}.yaml", nc=3, verbose=False) if name in files else build(name)
    with pytest.raises(InjectionError, match=f"(?s){message}"):
        inject(model, {"yolo": "ciou"})
    assert not injected(model)


def test_what_is_patched_already_is_refused(build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced function, method or `loss` of the instance is found."""
    import ultralytics.utils.loss as home

    model = build("yolo11n")
    model.loss = lambda batch, preds=None: None
    with pytest.raises(AlreadyPatchedError, match="its own 'loss'"):
        inject(model, {"yolo": "ciou"})
    del model.loss
    with monkeypatch.context() as patch:
        patch.setattr(home, "bbox_iou", lambda *args, **kwargs: None)
        with pytest.raises(AlreadyPatchedError, match="not ultralytics's own"):
            inject(model, {"yolo": "ciou"})
    with monkeypatch.context() as patch:
        patch.setattr(home.BboxLoss, "forward", lambda self, *args: None)
        with pytest.raises(AlreadyPatchedError, match="is not that of ultralytics"):
            inject(model, {"yolo": "ciou"})
    inject(model, {"yolo": "ciou"})


def test_an_injection_that_would_be_lost_says_so(build: Callable[[str], Any], caplog: pytest.LogCaptureFixture) -> None:
    """Injecting into the model of a `YOLO` warns that `train()` does not use it; into other models it does not."""
    from ultralytics import YOLO

    caplog.set_level(logging.WARNING, "detloss")
    inject(build("yolo11n"), {"yolo": "ciou"})
    assert caplog.messages == []
    yolo = YOLO("yolo11n.yaml")
    inject(yolo.model, {"yolo": "ciou"})
    (message,) = caplog.messages
    assert message.startswith("yolo: YOLO.train() trains another model, without this loss. Fix: for YOLO.train(), call")
