"""The whole of a third party's plugin, in docs/minimal-plugin/, is a plugin like any other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "docs" / "minimal-plugin"

CONFIG = """
model: fasterrcnn_mobilenet_v3_large_320_fpn
num_classes: 3
losses:
  roi_heads: {name: cubic_iou, power: 2.0}
"""

USE = """
import sys, torch
from detloss import build_model, injected
from detloss.cli import main
config, *sys.argv = sys.argv[1:]
assert main() == 0
model = build_model(config)
loss = injected(model)["roi_heads"].losses[0]
# IoU of a box and its left half is 1/2, so the loss is 1 - 1/4.
print(loss(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[0.0, 0.0, 2.0, 4.0]])).item())
targets = [{"boxes": torch.tensor([[20.0, 30.0, 120.0, 200.0]]), "labels": torch.tensor([1])}]
model([torch.rand(3, 240, 320)], targets)["loss_box_reg"].backward()
print(all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()))
"""


def test_it_has_24_lines() -> None:
    """The project file and the module are all there is, and have 24 lines together."""
    files = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PLUGIN.iterdir() if path.is_file()
    }
    assert set(files) == {"detloss_cubic_iou.py", "pyproject.toml"}
    assert sum(files.values()) == 24


@pytest.mark.slow
def test_it_is_a_whole_plugin(fresh_environment: Any, tmp_path: Path) -> None:
    """Built and installed as it stands, it is listed, passes every check of the kit, and works in a config."""
    project = tmp_path / "project"
    shutil.copytree(PLUGIN, project)
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", str(project)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (project / "dist").glob("*.whl")
    fresh_environment.install(wheel)

    listed = json.loads(fresh_environment.run("detloss", "list", "--json").stdout)
    assert listed["problems"] == []
    (plugin,) = [plugin for plugin in listed["plugins"] if plugin["name"] == "cubic_iou"]
    assert (plugin["package"], plugin["space"]) == ("detloss-cubic-iou", "boxes")

    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    used = fresh_environment.run("python", "-c", USE, str(config), "detloss", "check", "cubic_iou", "--json")
    assert used.returncode == 0, used.stdout + used.stderr
    *checked, value, finite = used.stdout.splitlines()
    report = json.loads("\n".join(checked))
    assert report["passed"]
    assert len(report["results"]) > 30
    assert float(value) == pytest.approx(0.75)
    assert finite == "True"
