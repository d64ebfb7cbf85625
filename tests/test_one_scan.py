"""A public call looks at the installed packages once, whatever it looks up there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_detectors import faster_rcnn

from detloss import build_loss, build_model, inject, load_config
from detloss.registry import scan
from detloss.registry.entry_points import read_groups

LOSSES = {"roi_heads": [{"name": "inner", "base": "giou", "weight": 2}, "ciou"], "rpn": "smooth_l1"}
CONFIG = {"model": "fasterrcnn_mobilenet_v3_large_320_fpn", "num_classes": 2, "losses": LOSSES}


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Count the readings of the installed packages; each is made as always."""
    counted: list[object] = []

    def counting(*arguments: Any) -> Any:
        counted.append(arguments)
        return read_groups(*arguments)

    monkeypatch.setattr(sys.modules["detloss.registry.scan"], "read_groups", counting)
    scan()
    assert len(counted) == 1
    counted.clear()
    return counted


@pytest.mark.parametrize(
    "call",
    [
        lambda: load_config(CONFIG),
        lambda: build_model(CONFIG),
        lambda: inject(faster_rcnn(), LOSSES),
        lambda: build_loss({"name": "inner", "base": "giou"}),
    ],
    ids=["load_config", "build_model", "inject", "build_loss"],
)
def test_a_call_scans_once(scans: list[object], call: Callable[[], object]) -> None:
    """A config with two losses in one head, one of them a wrapper, costs one scan of the installed packages."""
    call()
    assert len(scans) == 1


def test_validate_scans_once(
    scans: list[object], write: Callable[..., Path], run_detloss: Callable[..., tuple[int, str, str]]
) -> None:
    """`detloss validate` scans once."""
    file = write("model: fasterrcnn_mobilenet_v3_large_320_fpn\nlosses: {roi_heads: giou, rpn: smooth_l1}\n")
    code, _, err = run_detloss("validate", str(file))
    assert code == 0, err
    assert len(scans) == 1


def test_reading_for_training_scans_once(scans: list[object]) -> None:
    """The reading of `detloss train`'s config scans once."""
    from detloss.training.data.sources import read_config

    read_config(None)
    assert len(scans) == 1
