"""A Mask R-CNN trains from a config on COCO polygons, with injected losses, in mixed precision."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from torchvision.transforms.v2 import functional

from detloss.training import train
from detloss.training.data.synthetic import ShapesDataset
from detloss.training.settings import ShapesConfig


@pytest.mark.slow
def test_a_mask_rcnn_trains_on_polygons_in_bfloat16(tmp_path: Path) -> None:
    """An epoch in bf16-mixed gives finite losses, the mask's among them, in training and in validation."""
    shapes = ShapesDataset(ShapesConfig(train=6, size=64, max_objects=2))
    for index, record in enumerate(shapes.coco["images"]):
        functional.to_pil_image(shapes.image(index)).save(tmp_path / record["file_name"])
    annotations = []
    for entry in shapes.coco["annotations"]:
        x, y, width, height = entry["bbox"]
        outline = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotations.append({**entry, "segmentation": [outline]})
    (tmp_path / "all.json").write_text(json.dumps({**shapes.coco, "annotations": annotations}))
    split = {"images": ".", "annotations": "all.json"}
    config = {
        "model": "maskrcnn",
        "backbone": "mobilenet_v2",
        "losses": {"roi_heads": "giou", "rpn": "giou"},
        "options": {"min_size": 64, "max_size": 64, "box_batch_size_per_image": 16, "rpn_post_nms_top_n_test": 10},
        "data": {"train": split, "val": split},
        "train": {
            "epochs": 1,
            "batch_size": 2,
            "log_every": 1,
            "accelerator": "cpu",
            "devices": 1,
            "precision": "bf16-mixed",
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    train(tmp_path / "config.yaml", output=tmp_path / "run", progress="off")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = {name: value for line in lines for name, value in line.items() if "loss" in name}
    assert {"val/loss_mask", "val/loss_box_reg", "val/loss_rpn_box_reg", "train/loss_mask"} <= logged.keys()
    assert all(math.isfinite(value) for value in logged.values())
    assert logged["val/loss_mask"] > 0
