"""What users get: detloss from its wheel, and a third party's loss installed next to it with pip."""

from __future__ import annotations

import json
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from detloss import __version__

ROOT = Path(__file__).resolve().parent.parent
SUPPORT = ROOT / "tests" / "support"
INFO = f"detloss-{__version__}.dist-info"

SQUARED = '''
"""A package with one loss."""

from __future__ import annotations

from torch import Tensor

from detloss import BoxRegressionLoss


class SquaredLoss(BoxRegressionLoss):
    """Sum of the squared distances (Doe, 2024, arXiv 2401.00001)."""

    space = "deltas"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).square().sum(dim=-1)
'''

TRAIN = """
import json

import detloss
import torch
from tiny_detectors import batch, faster_rcnn

model = detloss.inject(faster_rcnn(), {"roi_heads": {"name": "squared", "normalizer": "positives"}}).train()
by_hand = []
detloss.injected(model)["roi_heads"].losses[0].register_forward_hook(
    lambda _module, pair, _values: by_hand.append(float((pair[0] - pair[1]).square().sum(-1).mean()))
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
reported, total = [], []
for step in range(5):
    torch.manual_seed(0)
    losses = model(*batch())
    reported.append(float(losses["loss_box_reg"]))
    total.append(float(sum(losses.values())))
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
print(json.dumps({"file": detloss.__file__, "reported": reported, "by_hand": by_hand, "total": total}))
"""


@pytest.mark.slow
def test_an_installed_loss_is_listed_and_trains(fresh_environment: Any, build_wheel: Any) -> None:
    """A loss that pip installs beside detloss is listed and trains a detector, with nothing of detloss changed."""
    fresh_environment.install(
        build_wheel("squared-loss", {"squared": "squared_loss:SquaredLoss"}, {"squared_loss.py": SQUARED})
    )
    listed = json.loads(fresh_environment.run("detloss", "list", "--json").stdout)
    plugins = {plugin["name"]: plugin for plugin in listed["plugins"]}
    assert plugins["squared"]["package"] == "squared-loss"
    assert plugins["squared"]["description"] == "Sum of the squared distances (Doe, 2024, arXiv 2401.00001)."
    assert "nwd" not in plugins, "detloss-gaussian is not installed there"
    assert listed["problems"] == []

    done = fresh_environment.run("python", "-c", TRAIN, PYTHONPATH=str(SUPPORT))
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert Path(seen["file"]).is_relative_to(fresh_environment.site)
    assert seen["reported"] == pytest.approx(seen["by_hand"])
    assert len(seen["total"]) == 5
    assert seen["total"][-1] < seen["total"][0] < float("inf")


@pytest.mark.slow
def test_the_wheel_is_complete(detloss_wheels: dict[str, Path]) -> None:
    """The wheel holds the package with its type marker and default config, and neither tests nor docs."""
    with zipfile.ZipFile(detloss_wheels["detloss"]) as wheel:
        names = set(wheel.namelist())
        default = wheel.read("detloss/training/default.yaml")
    assert "detloss/py.typed" in names
    assert default == (ROOT / "detloss" / "training" / "default.yaml").read_bytes()
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "detloss").rglob("*.py")}
    assert sources <= names
    assert {name.partition("/")[0] for name in names} == {"detloss", INFO}


@pytest.mark.slow
@pytest.mark.parametrize("package", ["detloss", "detloss-gaussian", "detloss-iou", "detloss-l1"])
def test_the_metadata_names_no_place_of_this_machine(detloss_wheels: dict[str, Path], package: str) -> None:
    """The metadata of each wheel has requirements from an index only, and no path of the machine that built it."""
    with zipfile.ZipFile(detloss_wheels[package]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        text = wheel.read(name)
    requirements = message_from_bytes(text).get_all("Requires-Dist", [])
    assert requirements
    assert not [line for line in requirements if "@" in line or "/" in line]
    assert str(ROOT).encode() not in text
    assert b"file:" not in text


@pytest.mark.slow
def test_the_agpl_is_in_one_package(detloss_wheels: dict[str, Path]) -> None:
    """The package for ultralytics is under AGPL and holds the text; the others are not, and none of them needs it."""
    licenses = {}
    for package, file in detloss_wheels.items():
        with zipfile.ZipFile(file) as wheel:
            (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            (text,) = [wheel.read(name) for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
            metadata = message_from_bytes(wheel.read(name))
        licenses[package] = metadata["License-Expression"]
        assert (b"AFFERO" in text) == (package == "detloss-ultralytics")
        assert not [line for line in metadata.get_all("Requires-Dist", []) if line.startswith("detloss-ultralytics")]
    assert licenses.pop("detloss-ultralytics") == "AGPL-3.0-or-later"
    assert set(licenses.values()) <= {"BSD-3-Clause", "Apache-2.0"}


@pytest.mark.slow
def test_the_extras(detloss_wheels: dict[str, Path]) -> None:
    """`[train]` brings Lightning, `[losses]` the first-party losses, `[export]` onnxruntime; plain detloss none."""
    with zipfile.ZipFile(detloss_wheels["detloss"]) as wheel:
        metadata = message_from_bytes(wheel.read(f"{INFO}/METADATA"))
    extras = metadata.get_all("Provides-Extra", [])
    assert set(extras) == {"compare", "export", "losses", "plot", "ray", "slurm", "train"}
    by_extra: dict[str, set[str]] = {name: set() for name in (*extras, "")}
    for line in metadata.get_all("Requires-Dist", []):
        requirement, _, marker = line.partition(";")
        extra = next((name for name in by_extra if name and f"'{name}'" in marker), "")
        by_extra[extra].add(requirement.split(">")[0].strip())
    assert by_extra["losses"] == {"detloss-gaussian", "detloss-iou", "detloss-l1"}
    assert by_extra["plot"] == {"matplotlib"}
    assert by_extra["export"] == {"onnx", "onnxruntime", "onnxscript"}
    assert "pytorch-lightning" in by_extra["train"]
    assert {"jinja2", "torch", "torchvision", "pydantic"} <= by_extra[""]
    assert not by_extra.pop("") & set().union(*by_extra.values())


IN_TRANSFORMERS = """
import torch
from detloss import eject, inject, injected
from detloss_transformers.small_models import labels, pixels, rt_detr

model = inject(rt_detr(), {"rt_detr": "giou"})
model(pixel_values=pixels(model), labels=labels(model)).loss.backward()
print(injected(model), "|", type(eject(model)).__name__)
"""


@pytest.mark.slow
def test_the_heads_of_transformers_work_from_their_wheel(fresh_environment: Any, detloss_wheels: Any) -> None:
    """The wheel of detloss-transformers, with only transformers beside it, puts a loss into an RT-DETR."""
    pytest.importorskip("transformers")
    fresh_environment.install(detloss_wheels["detloss-transformers"])
    done = fresh_environment.run("python", "-c", IN_TRANSFORMERS, HF_HUB_OFFLINE="1")
    assert done.stdout == "rt_detr: 1 * giou(eps=1e-07) | RTDetrForObjectDetection\n", done.stderr
    listed = fresh_environment.run("detloss", "list", "--heads")
    assert "detloss-transformers 0.1.0, for transformers<5.25,>=5.24 (5.24." in listed.stdout
