"""The code of docs/injection.md, docs/plain-loop.md and docs/weights.md runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tiny_detectors import batch, faster_rcnn

from detloss import inject, injected

PAGE = Path(__file__).resolve().parent.parent / "docs" / "injection.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks that inject, print, eject and copy run one after the other, and say what is in each head."""
    namespace: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "roi_heads: 10 * giou(eps=1e-07) + 1 * smooth_l1(" in printed
    assert "rpn: 2 * giou(" in printed
    assert "{'loss_classifier': " in printed
    assert set(namespace["losses"]) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert namespace["detections"][0]["boxes"].shape[1] == 4
    assert list(injected(namespace["model"])) == ["roi_heads"]
    assert not injected(namespace["plain"])


def test_the_plain_loop_runs() -> None:
    """The loop takes its steps with the losses that it names, and the one line that it needs is marked."""
    text = (PAGE.parent / "plain-loop.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "# the new line" in block
    namespace: dict[str, Any] = {}
    exec(compile(block, "plain-loop.md", "exec"), namespace)
    assert injected(namespace["model"]).keys() == {"roi_heads", "rpn"}
    assert namespace["optimizer"].state


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
