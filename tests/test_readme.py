"""What the README says is so: its commands, its code, its output, its links."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from tiny_detectors import batch, faster_rcnn, step

from detloss import BoxRegressionLoss, build_loss, inject
from detloss.registry import scan

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_is_short() -> None:
    """The README has fewer than 100 lines."""
    assert len(README.splitlines()) < 100


def test_the_output_shown_is_the_real_one() -> None:
    """The console blocks marked as generated, here and in the docs, are what the commands print."""
    script = ROOT / "docs" / "generate_output.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}Run: python docs/generate_output.py"
    assert "$ detloss list\nname " in README
    assert "\ngiou " in README


def test_the_example_in_user_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The first Python block builds, injects and backpropagates as written, and prints both heads."""
    namespace: dict[str, object] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "roi_heads: 10 * giou(" in printed
    assert "rpn: 1 * smooth_l1(" in printed
    gradients = [parameter.grad for parameter in namespace["model"].parameters() if parameter.requires_grad]
    assert sum(gradient is not None for gradient in gradients) > 50


def test_the_example_is_ten_lines() -> None:
    """The example in user code has ten lines at most, imports included."""
    assert len(blocks("python")[0].splitlines()) <= 10


def test_the_minimal_plugin_is_a_loss() -> None:
    """The loss of the README runs in a detector as written, and its entry point is one that detloss reads."""
    namespace: dict[str, object] = {"__name__": "my_package"}
    exec(compile(blocks("python")[1], "README.md", "exec"), namespace)
    loss = namespace["CubicIoULoss"](power=2.0)
    assert isinstance(loss, BoxRegressionLoss)
    # IoU of a box and its left half is 1/2, so the loss is 1 - 1/4.
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[0.0, 0.0, 2.0, 4.0]])
    assert loss(*boxes).item() == pytest.approx(0.75)
    model = inject(faster_rcnn(), {"roi_heads": loss})
    assert step(model, batch())["loss_box_reg"] > 0
    group = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]
    assert group == {"detloss.losses": {"cubic_iou": "my_package:CubicIoULoss"}}


def test_the_entry_point_of_the_readme_is_read(tmp_path: Path) -> None:
    """A package with the README's entry point and module shows in the scan, with the class's first line."""
    (tmp_path / "my_package.py").write_text(blocks("python")[1])
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[detloss.losses]\ncubic_iou = my_package:CubicIoULoss\n")
    (plugin,) = scan(path=[tmp_path]).plugins
    assert (plugin.name, plugin.package, plugin.description) == (
        "cubic_iou",
        "my-package",
        "Cubic IoU: ``1 - IoU**power``.",
    )


def test_links_lead_somewhere() -> None:
    """Every relative link of the README and the docs is a file of the repository."""
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)  # code has brackets too
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_ci_runs_the_readmes_test_command() -> None:
    """The second command of the README is a line of `.ci/run`."""
    command = re.search(r"^\$ (\.uv/bin/uv run pytest)", blocks("console")[0], flags=re.MULTILINE)
    assert command[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_command_is_one_that_is_tested() -> None:
    """The first command trains without a config, which `test_cli_train.py` runs to an AP50 over 0.5."""
    assert ".uv/bin/uv run detloss train  " in blocks("console")[0]


def test_every_loss_of_the_readme_is_installed() -> None:
    """The names used in the README's code resolve."""
    for name in ("giou", "smooth_l1"):
        assert build_loss(name).config is not None
