"""The package of docs/own-detector.md brings a detector and its head, as it would bring a loss."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-detector.md").read_text(encoding="utf-8")
BLOCKS = {
    code.partition("\n")[0].removeprefix("# "): code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}

PROGRAM = """
import copy, json
from pathlib import Path
import detloss, torch
from detloss import calibrate, eject, inject, injected
from yolo_like.detector import YoloLike

torch.manual_seed(0)
images = torch.rand(2, 3, 64, 96)
targets = [
    {"boxes": torch.tensor([[0.0, 0, 32, 16], [40, 40, 56, 56]]), "labels": torch.tensor([0, 1])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]
model = YoloLike(num_classes=2).train()
stock = model(images, targets)
inject(model, {"yolo_like": "giou"})
said = str(injected(model))

known = copy.deepcopy(model)
torch.nn.init.zeros_(known.predict.weight)
torch.nn.init.zeros_(known.predict.bias)
value = known(images, targets)["box"].item()

optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
boxes = []
for step in range(60):
    losses = model(images, targets)
    boxes.append(losses["box"].item())
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
keys = list(model.state_dict())
(measured,) = calibrate(model, [(images, targets)])
eject(model)
torch.manual_seed(0)
torch.rand(2, 3, 64, 96)
fresh = YoloLike(num_classes=2).train()
fresh_stock = fresh(images, targets)
print(json.dumps({
    "file": detloss.__file__, "said": said, "value": value, "boxes": boxes, "type": type(model).__name__,
    "same_keys": keys == list(fresh.state_dict()), "ratio": measured.ratio,
    "ejected": eject(inject(fresh, {"yolo_like": "giou"}))(images, targets)["box"].item() == stock["box"].item(),
    "others": all(
        torch.equal(inject(fresh, {"yolo_like": "giou"})(images, targets)[key], fresh_stock[key])
        for key in ("objectness", "class")
    ),
}))
"""


@pytest.fixture(scope="module")
def installed(fresh_environment: Any, build_wheel: Any) -> Any:
    """The fresh environment with the package of the detector and its adapter."""
    modules = {path: source for path, source in BLOCKS.items() if path.startswith("yolo_like/")}
    fresh_environment.install(
        build_wheel(
            "yolo-like",
            losses={},
            heads={"yolo_like": "yolo_like.adapter:YoloLikeAdapter"},
            modules={"yolo_like/__init__.py": "", **modules},
        )
    )
    return fresh_environment


@pytest.mark.slow
def test_a_foreign_head_is_listed(installed: Any) -> None:
    """`detloss list --heads` shows the package's head beside torchvision's."""
    done = installed.run("detloss", "list", "--heads", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["plugins"]
    plugins = {plugin["name"]: plugin for plugin in found if plugin["package"] != "detloss-transformers"}
    assert set(plugins) == {"fcos", "retinanet", "roi_heads", "rpn", "ssd", "yolo_like"}
    assert plugins["yolo_like"]["package"] == "yolo-like"
    assert plugins["yolo_like"]["description"] == "`yolo_like`: replaces ``box`` of ``YoloLike``."


@pytest.mark.slow
def test_a_foreign_head_trains(installed: Any) -> None:
    """A loss goes by name into a detector that detloss never heard of: value by hand, training, eject."""
    done = installed.run("python", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert Path(seen["file"]).is_relative_to(installed.site)
    assert seen["said"] == "yolo_like: 1 * giou(eps=1e-07)"
    # With weights 0 each cell predicts itself. Box (0, 0, 32, 16) has its centre in the cell (16, 0, 32, 16):
    # I = 256, U = C = 512, so 1 - 1/2 + 0 = 0.5. Box (40, 40, 56, 56) has its centre (48, 48) in the cell
    # (48, 48, 64, 64): I = 8 * 8 = 64, U = 2 * 256 - 64 = 448, C = 24 * 24 = 576, so 1 - 1/7 + 128/576. Two positives.
    assert seen["value"] == pytest.approx((0.5 + 1 - 1 / 7 + 2 / 9) / 2, rel=1e-6)
    assert seen["boxes"][-1] < 0.5 * seen["boxes"][0]
    assert seen["ratio"] > 0
    assert seen["type"] == "YoloLike"
    assert seen["same_keys"]
    assert seen["ejected"]
    assert seen["others"]


@pytest.mark.slow
def test_the_foreign_head_keeps_the_contract(installed: Any, detloss_wheels: Any) -> None:
    """`detloss check --head` passes for the head of the page, and the page's test names all checks."""
    installed.install(detloss_wheels["detloss-l1"])
    done = installed.run("detloss", "check", "--head", "yolo_like", "--json")
    report = json.loads(done.stdout)
    failed = [(each["check"], each["message"]) for each in report["results"] if each["outcome"] == "failed"]
    assert (done.returncode, failed) == (0, []), done.stderr
    assert "HEAD_CHECKS" in BLOCKS["test_yolo_like.py"]


def test_the_entry_point_of_the_page() -> None:
    """The page's pyproject claims the name of its adapter."""
    (project,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    heads = tomllib.loads(project)["project"]["entry-points"]["detloss.heads"]
    assert heads == {"yolo_like": "yolo_like.adapter:YoloLikeAdapter"}


@pytest.mark.slow
def test_a_head_that_the_model_lacks(installed: Any) -> None:
    """In a model without the head, the error names the foreign head's class and the heads that there are."""
    program = (
        "import detloss; from tiny_detectors import fcos\n"
        "try: detloss.inject(fcos(), {'yolo_like': 'giou'})\n"
        "except detloss.HeadNotFoundError as error: print(error)"
    )
    support = Path(__file__).resolve().parent.parent / "support"
    done = installed.run("python", "-c", program, PYTHONPATH=str(support))
    assert done.stdout == "yolo_like: this FCOS has no YoloLike. Its heads: fcos.\n", done.stderr
