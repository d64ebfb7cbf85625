"""The curves of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detloss.training.curves import draw_curves


def lines(epochs: int, **changed: Any) -> list[dict[str, Any]]:
    """Metrics of epochs of 10 steps, with some values changed."""
    losses = [
        {"epoch": (step + 9) // 10, "step": step, "train/loss": 1 / step, "train/lr": 0.1, "train/skipped": 0}
        for step in range(1, 10 * epochs + 1)
    ]
    scores = [
        {"epoch": epoch, "step": 10 * epoch, "val/AP": 0.1, "val/AP50": 0.3, "val/AP75": 0.2}
        for epoch in range(1, epochs + 1)
    ]
    return [{key: changed.get(key, value) for key, value in line.items()} for line in (*losses, *scores)]


@pytest.mark.parametrize(
    "changed",
    [{}, {"train/loss": -1.0}, {"train/loss": 0.0}, {"train/loss": None}, {"val/AP75": None}],
    ids=["plain", "negative", "zero", "NaN", "no AP75"],
)
@pytest.mark.parametrize("epochs", [1, 30])
def test_any_metrics_are_drawn(tmp_path: Path, epochs: int, changed: dict[str, Any]) -> None:
    """One epoch or many, losses that are negative, zero or were not finite: an image comes of it, without a warning."""
    draw_curves(lines(epochs, **changed), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (1200, 450)


def test_the_curves_show_the_metrics(tmp_path: Path) -> None:
    """Another AP is another image on its right half alone, another loss one on the left; the same ones give one."""
    drawn = {}
    for name, changed in {"one": {}, "same": {}, "AP": {"val/AP": 0.9}, "loss": {"train/loss": 0.5}}.items():
        draw_curves(lines(3, **changed), tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            drawn[name] = np.asarray(image.convert("RGB")).astype(int)
    differing = {name: np.flatnonzero((image != drawn["one"]).any(axis=(0, 2))) for name, image in drawn.items()}
    assert not len(differing["same"])
    assert differing["AP"].min() > 600
    assert differing["loss"].max() < 600
