"""A weight that you chose far off gets one warning when training starts, and then nothing is left behind."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from runs import bare_trainer
from tiny_detectors import batch, faster_rcnn
from torch.utils.data import DataLoader

from detloss import inject
from detloss.training import DetectionModule, collate
from detloss.training.loss_weights import FarWeightWarning
from detloss.training.settings import FitConfig


def fit(losses: dict[str, Any], counts: tuple[int, ...] = (2, 1, 3, 1), epochs: int = 2) -> pl.Trainer:
    model = inject(faster_rcnn(), losses)
    pictures = list(zip(*batch(counts=counts), strict=True))
    trainer = bare_trainer(Path(), epochs, limit_val_batches=0, callbacks=[FarWeightWarning()])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        torch.manual_seed(0)
        loader = DataLoader(pictures, batch_size=2, collate_fn=collate)
        trainer.fit(DetectionModule(model, FitConfig(optimizer="sgd", lr=1e-6)), loader, loader)
    assert not any(module._forward_hooks for module in model.modules()), "measuring has ended"
    return trainer


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_weight_far_off_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Of two losses the one that is 1000 times too strong is named, once in two epochs."""
    fit({"roi_heads": {"name": "smooth_l1", "beta": 1 / 9, "weight": 1000}, "rpn": {"name": "huber", "weight": 1}})
    (sentence,) = [text for text in warned(caplog) if text.startswith("roi_heads")]
    assert "with weight 1000 the gradient of smooth_l1 is 1e+03 times that of the head's own loss" in sentence
    assert "weight 1 would equalize them" in sentence


def test_fitting_and_default_weights_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The equalizing weight, and a weight that nobody chose, give no warning."""
    fit({"roi_heads": {"name": "smooth_l1", "beta": 1 / 9, "weight": 1.0}, "rpn": "nwd"})
    assert warned(caplog) == []


def test_without_any_match_measuring_ends_with_the_epoch(caplog: pytest.LogCaptureFixture) -> None:
    """Pictures without objects say nothing about a weight; the hooks are gone after the first epoch."""
    fit({"roi_heads": {"name": "giou", "weight": 1000}}, counts=(0, 0))
    assert warned(caplog) == []
