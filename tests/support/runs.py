"""A run of `detloss train` that takes seconds, when two runs are the same, and a trainer of a user's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from torchvision.transforms.v2 import functional

from detloss.training import ShapesDataset, train
from detloss.training.settings import ShapesConfig

STEPS_PER_EPOCH = 6
TINY: dict[str, Any] = {
    "model": "fasterrcnn",
    "backbone": "tiny",
    "losses": {"roi_heads": "giou"},
    "options": {
        "min_size": 64,
        "max_size": 64,
        "box_batch_size_per_image": 8,
        "rpn_pre_nms_top_n_train": 50,
        "rpn_post_nms_top_n_train": 20,
        "box_detections_per_img": 5,
    },
    "data": {"shapes": {"train": 2 * STEPS_PER_EPOCH, "val": 3, "size": 64}},
    "train": {
        "epochs": 2,
        "batch_size": 2,
        "optimizer": "sgd",
        "lr": 1.0e-3,
        "log_every": 1,
        "accelerator": "cpu",
        "devices": 1,
        "pictures": 2,
    },
}


def coco_files(folder: Path) -> Path:
    """Write images and ``all.json``, with ids of its own and one box without area, and return that file."""
    shapes = ShapesDataset(ShapesConfig(train=6, size=64, max_objects=2))
    for index, record in enumerate(shapes.coco["images"]):
        functional.to_pil_image(shapes.image(index)).save(folder / record["file_name"])
    content = {
        "info": {"year": "2024"},
        "images": [{**image, "id": f"i{image['id']}"} for image in shapes.coco["images"]],
        "categories": [{**category, "id": 10 * category["id"]} for category in shapes.coco["categories"]],
        "annotations": [
            {**entry, "image_id": f"i{entry['image_id']}", "category_id": 10 * entry["category_id"]}
            for entry in shapes.coco["annotations"]
        ]
        + [{"id": 99, "image_id": "i1", "category_id": 10, "bbox": [1, 1, 0, 0]}],
    }
    file = folder / "all.json"
    file.write_text(json.dumps(content))
    return file


def coco_run(folder: Path) -> Path:
    """Train on `tiny` for one epoch on COCO files with ids of their own, all splits alike, and return the folder."""
    (folder / "images").mkdir()
    coco_files(folder / "images")
    split = {"images": "images", "annotations": "images/all.json"}
    file = config_file(folder, train={"epochs": 1})
    changed = {"backbone": "tiny", "data": dict.fromkeys(("train", "val", "test"), split)}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changed}))
    return train(file, output=folder / "run", progress="off").folder


def config_file(folder: Path, **sections: dict[str, Any]) -> Path:
    """`TINY` with other values in its sections, as a file in `folder`."""
    merged = {**TINY, **{key: {**TINY[key], **value} for key, value in sections.items()}}
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(merged))
    return file


def numbers(folder: Path) -> dict[str, Any]:
    """The final numbers of a run, without the SHA-256 of its checkpoints, which are right."""
    final: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("best.ckpt", "last.ckpt")}
    assert final.pop("sha256") == found
    return final


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics, but for what depends on the machine: time, speed and memory."""
    varying = {"time", "images_per_second", "memory_mib"}
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in varying} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a run's last checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    return state


def assert_same_run(first: Path, second: Path) -> None:
    """Fail unless two runs have the same weights, the same metrics, and the same bytes in all other files."""
    expected, found = weights(first), weights(second)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert metrics(first) == metrics(second)
    drawn = yaml.safe_load((first / "config.yaml").read_text())["train"]["pictures"]
    for name in ("curves.png", "predictions-val.json", "config.yaml", *["predictions.png"] * bool(drawn)):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    # A part of a run may have been made with another number of workers, say.
    made_with = [json.loads((each / "provenance.json").read_text()) | {"earlier": []} for each in (first, second)]
    assert made_with[0] == made_with[1]
    # Checkpoints of equal content may differ in their bytes: pickle writes an object that is met twice once.
    assert [numbers(each) for each in (first, second)] == [numbers(first)] * 2


def bare_trainer(folder: Path, epochs: int = 1, **options: Any) -> pl.Trainer:
    """A user's own trainer, on the CPU, that shows, logs and keeps nothing."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
