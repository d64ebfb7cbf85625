"""docs/fine-tune.md, executed as it is written; `followed_page` says how.

Two things are smaller than on the page: a handful of synthetic images stand for those of BCCD, and training takes one
epoch. The weights are not COCO's, but are found in the same place and have the same shapes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from followed_page import Reader, blocks, in_fork
from torchvision.models.detection import (
    FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
    FasterRCNN_ResNet50_FPN_V2_Weights,
    fasterrcnn_mobilenet_v3_large_320_fpn,
)
from torchvision.transforms.v2.functional import to_pil_image

from detloss.training import ShapesDataset
from detloss.training.settings import ShapesConfig

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "fine-tune.md"
URL = FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT.url
CELLS = {"RBC": [(4, 4, 40, 40), (5, 50, 40, 90), (50, 60, 90, 90)], "WBC": [(44, 30, 90, 60), (50, 4, 90, 20)]}
CELLS["Platelets"] = [(42, 4, 48, 24)]
SPLITS = {"train": ("00001", "00002"), "val": ("00003", "00004"), "test": ("00005", "00007")}


def write_cells(folder: Path) -> None:
    """Pascal VOC as BCCD has it, with boxes of three classes, one of them a single point."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    shapes = ShapesDataset(ShapesConfig(train=6, size=96, max_objects=3))
    names = [name for listed in SPLITS.values() for name in listed]
    for index, name in enumerate(names):
        to_pil_image(shapes.image(index)).save(folder / "JPEGImages" / f"BloodImage_{name}.jpg")
        objects = "".join(
            f"<object><name>{cell}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for cell, boxes in {**CELLS, "RBC": [(5, 5, 5, 5)][index:] + CELLS["RBC"]}.items()
            for x1, y1, x2, y2 in boxes
        )
        (folder / "Annotations" / f"BloodImage_{name}.xml").write_text(
            f"<annotation><filename>BloodImage_{name}.jpg</filename>"
            f"<size><width>96</width><height>96</height><depth>3</depth></size>{objects}</annotation>"
        )
    for split, listed in SPLITS.items():
        text = "".join(f"BloodImage_{name}\n" for name in listed)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text)


def write_weights(hub: Path) -> None:
    """Weights for COCO's 91 classes, where torchvision looks for its own."""
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    file = hub / "hub" / "checkpoints" / URL.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)


@pytest.mark.slow
@pytest.mark.xdist_group("whole")  # the fork server is ready there
def test_the_page_works_as_written(tmp_path: Path) -> None:
    """A reader who does what the page says gets what it shows, from labels to an exported model that runs."""
    work = tmp_path / "work"
    write_cells(work / "BCCD_Dataset" / "BCCD")
    write_weights(tmp_path / "torch")
    page = blocks(PAGE)
    assert sum("epochs: 8" in block.text for block in page) == 1
    short = [block._replace(text=block.text.replace("epochs: 8", "epochs: 1")) for block in page]
    Reader(work, Path(sys.executable).parent, in_fork, TORCH_HOME=str(tmp_path / "torch")).follow(short)
    run = work / "runs" / "cells"
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert json.loads((run / "metrics.json").read_text()).keys() >= {"best", "test"}
    assert (work / "found" / "BloodImage_00007.jpg").exists()


def test_only_what_needs_the_network_or_never_ends_is_not_run() -> None:
    """Three blocks are not executed, and the weights that one of them fetches are torchvision's."""
    skipped = [block for block in blocks(PAGE) if block.what == "not run"]
    assert [block.argument for block in skipped] == [
        "it fetches the images and TensorBoard",
        "it fetches weights",
        "it runs until you stop it",
    ]
    assert f"load_state_dict_from_url('{URL}')" in skipped[1].text


def test_the_accuracy_is_what_torchvision_says() -> None:
    """The AP on COCO that the page names for two models is that of torchvision's metadata."""
    text = PAGE.read_text(encoding="utf-8")
    for weights in (FasterRCNN_MobileNet_V3_Large_320_FPN_Weights, FasterRCNN_ResNet50_FPN_V2_Weights):
        assert f"AP {weights.DEFAULT.meta['_metrics']['COCO-val2017']['box_map']}" in text
