"""A package brings a detector that torchvision does not have, and a head adapter for it, as it would bring a loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DETECTOR = '''
"""A one-stage detector in the manner of YOLOv2 (arXiv 1612.08242): one box for each cell of a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDE = 16


class YoloLike(nn.Module):
    """Predicts in each 16 x 16 px cell a box (tx, ty, tw, th), its objectness and its class.

    The centre is ``cell + 16 sigmoid(tx, ty)``, the size ``16 exp(tw, th)``.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 4, stride=4), nn.ReLU())
        self.predict = nn.Conv2d(16, 4 + 1 + num_classes, 1)

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]] | None = None):
        raw = self.predict(self.backbone(images))
        return self.losses(raw, targets) if self.training else self.decode(*self.flat(raw))

    def losses(self, raw: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        image, row, column, boxes, labels = self.assign(targets)
        cells = self.cells(row, column)
        positive = raw[image, :, row, column]
        present = torch.zeros_like(raw[:, 4])
        present[image, row, column] = 1
        squares = (positive[:, :4] - self.encode(boxes, cells)).square()
        return {
            "box": squares.sum() / max(1, len(boxes)),
            "objectness": nn.functional.binary_cross_entropy_with_logits(raw[:, 4], present),
            "class": nn.functional.cross_entropy(positive[:, 5:], labels, reduction="sum") / max(1, len(boxes)),
        }

    def assign(self, targets: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
        """Return image, row and column of the cell that each box's centre lies in, the boxes and their labels."""
        boxes = torch.cat([target["boxes"] for target in targets])
        image = torch.cat([torch.full((len(t["boxes"]),), i) for i, t in enumerate(targets)])
        column, row = ((boxes[:, :2] + boxes[:, 2:]) / 2 / STRIDE).long().unbind(1)
        return image, row, column, boxes, torch.cat([target["labels"] for target in targets])

    @staticmethod
    def cells(row: Tensor, column: Tensor) -> Tensor:
        return torch.stack([column, row, column + 1, row + 1], dim=1) * float(STRIDE)

    @staticmethod
    def decode(deltas: Tensor, cells: Tensor) -> Tensor:
        centre, half = cells[:, :2] + STRIDE * deltas[:, :2].sigmoid(), STRIDE * deltas[:, 2:4].exp() / 2
        return torch.cat([centre - half, centre + half], dim=1)

    @staticmethod
    def encode(boxes: Tensor, cells: Tensor) -> Tensor:
        inside = ((boxes[:, :2] + boxes[:, 2:]) / 2 - cells[:, :2]) / STRIDE
        return torch.cat([inside.logit(eps=1e-3), ((boxes[:, 2:] - boxes[:, :2]) / STRIDE).log()], dim=1)

    def flat(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        row, column = (grid.flatten() for grid in torch.meshgrid(*map(torch.arange, raw.shape[-2:]), indexing="ij"))
        return raw[0].flatten(1).T[:, :4], self.cells(row, column)
'''

ADAPTER = '''
"""The adapter: all that detloss needs to know of this detector."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from detloss.heads.base import HeadAdapter, Matches
from yolo_like.detector import STRIDE, YoloLike


class YoloLikeAdapter(HeadAdapter):
    """`yolo_like`: replaces ``box`` of ``YoloLike``.

    Pairs are the cells that hold the centre of a box. The stock loss is the squared error of tx, ty, tw and th, divided
    by all positives of the batch.
    """

    head_name = "yolo_like"
    adapts = YoloLike
    supplies = frozenset({"anchors", "image_size"})

    def assign(self, targets: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
        """Remember which cell was matched with which box."""
        assigned: tuple[Tensor, ...] = super().assign(targets)
        self.record["assigned"] = assigned
        return assigned

    def losses(self, raw: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Replace the box loss of the three."""
        with self.recording():
            losses: dict[str, Tensor] = super().losses(raw, targets)
            image, row, column, boxes, _ = self.require("assigned")["assigned"]
        cells = self.cells(row, column)
        height, width = (STRIDE * size for size in raw.shape[-2:])
        stock_loss = losses["box"]
        losses["box"] = self.box_loss(
            Matches(
                pred_deltas=raw[image, :4, row, column],
                target_boxes=boxes,
                anchors=cells,
                decode=lambda deltas: self.decode(deltas, cells),
                target_deltas=lambda: self.encode(boxes, cells),
                image_size=lambda: boxes.new_tensor([height, width]).expand(len(boxes), 2),
                stock_divisor=float(max(1, len(boxes))),
                stock_loss=lambda: stock_loss,
                head_output=raw,
            )
        )
        return losses
'''

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
    modules = {"__init__": '"""A detector of its own."""\n', "detector": DETECTOR, "adapter": ADAPTER}
    fresh_environment.install(
        build_wheel(
            "yolo-like",
            losses={},
            heads={"yolo_like": "yolo_like.adapter:YoloLikeAdapter"},
            modules={f"yolo_like/{name}.py": source for name, source in modules.items()},
        )
    )
    return fresh_environment


@pytest.mark.slow
def test_a_foreign_head_is_listed(installed: Any) -> None:
    """`detloss list --heads` shows the package's head beside torchvision's."""
    done = installed.run("detloss", "list", "--heads", "--json")
    assert done.returncode == 0, done.stderr
    plugins = {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"]}
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
