"""Steps and trainings of models of ultralytics that take seconds."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torchvision.transforms.v2 import functional

from detloss.training import ShapesDataset
from detloss.training.settings import ShapesConfig

Batch = dict[str, torch.Tensor]


def step(model: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Total, named losses and gradients of a step that leaves the model as it was."""
    torch.manual_seed(1)  # RT-DETR adds noise to queries
    state = copy.deepcopy(model.state_dict())
    model.zero_grad()
    total, items = model(batch)
    total.sum().backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.load_state_dict(state)
    return total.detach(), items, gradients


def apart(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """How far gradients are apart, relative to their length."""
    assert found.keys() == expected.keys()
    one, other = (torch.cat([each[name].flatten() for name in sorted(each)]) for each in (found, expected))
    return float((one - other).norm() / other.norm())


def write_shapes(folder: Path, **config: int) -> Path:
    """Write synthetic images of detloss as ultralytics reads them, and return the folder."""
    for split in ("train", "val"):
        data = ShapesDataset(ShapesConfig(**config), split)
        images, labels = (folder / kind / split for kind in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index, image in enumerate(data.coco["images"]):
            functional.to_pil_image(data.image(index)).save(images / image["file_name"])
            rows = [_row(one, image) for one in data.coco["annotations"] if one["image_id"] == image["id"]]
            (labels / image["file_name"]).with_suffix(".txt").write_text("\n".join(rows))
        (folder / f"{split}.json").write_text(json.dumps(data.coco))
    names = [category["name"] for category in data.coco["categories"]]
    where = {"path": str(folder), "train": "images/train", "val": "images/val"}
    (folder / "data.yaml").write_text(yaml.safe_dump({**where, "names": dict(enumerate(names))}))
    return folder


def _row(one: dict[str, Any], image: dict[str, Any]) -> str:
    x, y, width, height = one["bbox"]
    numbers = [x + width / 2, y + height / 2, width, height]
    sizes = [image["width"], image["height"]] * 2
    return " ".join(map(str, [one["category_id"] - 1, *(n / size for n, size in zip(numbers, sizes, strict=True))]))


def settings(shapes: Path, runs: Path, **changed: Any) -> dict[str, Any]:
    """Arguments of a training or validation of seconds, without the network or anything drawn."""
    small = {"data": str(shapes / "data.yaml"), "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu"}
    quiet = {"plots": False, "verbose": False, "project": str(runs), "amp": False, "optimizer": "SGD"}
    return small | quiet | changed


def loaded_without_detloss(file: Path, key: str = "model") -> str:
    """The class of a saved model, and whether it has losses, in a process that cannot import detloss."""
    program = (
        "import sys; sys.modules['detloss'] = sys.modules['detloss_ultralytics'] = None\n"
        "import torch; model = torch.load(sys.argv[1], weights_only=False)[sys.argv[2]]\n"
        "print(type(model).__name__, any('detloss' in name for name, _ in model.named_modules()))"
    )
    done = subprocess.run([sys.executable, "-c", program, file, key], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
