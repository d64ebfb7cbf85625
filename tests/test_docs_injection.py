"""The code of docs/injection.md and docs/weights.md runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detectors import batch, faster_rcnn

from detloss import eject, inject, injected

PAGE = Path(__file__).resolve().parent.parent / "docs" / "injection.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
MODULE = next(block for block in BLOCKS if block.startswith("# grid_net.py"))
ENTRY_POINT = '[project.entry-points."detloss.heads"]\ngrid_net = "grid_net:GridNetAdapter"\n'


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks that inject, print, eject and copy run one after the other, and say what is in each head."""
    namespace: dict[str, Any] = {}
    for block in BLOCKS:
        if block != MODULE:
            exec(compile(block, str(PAGE), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "roi_heads: 10 * giou(eps=1e-07) + 1 * smooth_l1(" in printed
    assert "rpn: 2 * giou(" in printed
    assert "{'loss_classifier': " in printed
    assert set(namespace["losses"]) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert namespace["detections"][0]["boxes"].shape[1] == 4
    assert list(injected(namespace["model"])) == ["roi_heads"]
    assert not injected(namespace["plain"])


def test_calibrate_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The loop of the page on weights prints a line for each loss of the model."""
    text = (PAGE.parent / "weights.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    images, targets = batch(counts=(2,))
    exec(block, {"model": inject(faster_rcnn(), {"roi_heads": ["giou", "l1"]}), "images": images, "targets": targets})
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["roi_heads", "giou"],
        ["roi_heads", "l1"],
    ]


def test_the_adapter_works(packages: Any) -> None:
    """The detector and adapter that the page shows train with GIoU, and eject gives the stock loss back."""
    assert ENTRY_POINT in PAGE.read_text(encoding="utf-8")
    packages.add(
        "grid-net",
        entry_points="[detloss.heads]\ngrid_net = grid_net:GridNetAdapter\n",
        modules={"grid_net.py": MODULE},
    )
    from grid_net import GridNet  # type: ignore[import-not-found]

    model = GridNet()
    torch.nn.init.zeros_(model.predict.weight)
    torch.nn.init.zeros_(model.predict.bias)
    images = torch.rand(2, 3, 64, 64)
    targets = [{"boxes": torch.tensor([[0.0, 0, 32, 16]])}, {"boxes": torch.zeros(0, 4)}]
    stock = model(images, targets)["box"]
    # The centre (16, 8) lies in the cell (16, 0, 32, 16), which is also the prediction: one side is off by one cell.
    assert stock.item() == 1.0
    # I = 256, U = C = 512: 1 - 256 / 512 + 0.
    loss = inject(model, {"grid_net": "giou"})(images, targets)["box"]
    assert loss.item() == pytest.approx(0.5, rel=1e-6)
    loss.backward()
    assert model.predict.weight.grad.abs().sum() > 0
    assert inject(model, {"grid_net": "mpdiou"})(images, targets)["box"].isfinite()
    assert eject(model)(images, targets)["box"].item() == 1.0
