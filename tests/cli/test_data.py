"""`detloss data`: what the loader sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from coco_files import box, write
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of two 40 x 30 images: three boxes that are used, two that are not, and one that is a crowd."""
    annotations = [
        box(id=1, bbox=[1, 2, 10, 20]),
        box(id=2, bbox=[1, 2, 30, 7]),
        box(id=3, category_id=30, bbox=[20, 2, 6, 6]),
        box(id=4, bbox=[5, 5, 0, 9]),
        box(id=5, bbox=[50, 5, 9, 9]),
        box(id=6, bbox=[1, 1, 9, 9], iscrowd=1),
    ]
    split = {"images": ".", "annotations": write(tmp_path, annotations=annotations).name}
    file = tmp_path / "config.yaml"
    content: dict[str, Any] = {"model": "fasterrcnn", "backbone": "tiny", "data": {"train": split, "val": split}}
    file.write_text(yaml.safe_dump(content))
    return file


def test_what_the_loader_sees(run_detloss: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts by split and class, sizes, shapes, what is skipped and why; the image is data.png, and replaced."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run_detloss("data", str(config))
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    for row in (["images", "2", "2"], ["images", "without", "boxes", "1", "1"], ["crowds", "1", "1"]):
        assert row in rows
    assert ["cat", "2", "2"] in rows
    assert ["dog", "1", "1"] in rows
    assert ["below", "8", "1", "#" * 20] in rows
    assert ["8", "to", "16", "2", "#" * 40] in rows
    assert ["from", "4:1", "1", "#" * 40] in rows
    assert "train: 2 annotations skipped:" in out
    assert "1 x bbox has no area; the first: " in out
    assert "annotation 5: bbox [50, 5, 9, 9] lies outside its 40 x 30 image" in out
    assert "Written: data.png" in out
    with Image.open("data.png") as drawn:
        assert drawn.width == 3 * (480 + 8) + 8
    assert "Replaced: data.png" in run_detloss("data", str(config))[1]


def test_the_numbers_as_json(run_detloss: Run, config: Path, tmp_path: Path) -> None:
    """With `--json` stdout holds one object with the numbers of each split, and where the image is."""
    code, out, _ = run_detloss("data", str(config), "--json", "-o", str(tmp_path / "a.jpg"))
    printed = json.loads(out)
    assert code == 0
    assert printed["splits"]["train"]["classes"] == {"cat": 2, "dog": 1}
    assert printed["splits"]["train"]["sizes"]["8 to 16"] == 2
    assert printed["image"] == str(tmp_path / "a.jpg")


def test_synthetic_images(run_detloss: Run, tmp_path: Path) -> None:
    """Without a config it shows the synthetic images; `--set` changes them."""
    shapes = ["--set", "data.shapes={train: 4, val: 2, size: 64}"]
    code, out, err = run_detloss("data", *shapes, "-o", str(tmp_path / "shapes.png"))
    assert code == 0, err
    assert ["images", "4", "2"] in [line.split() for line in out.splitlines()]


def test_an_image_that_cannot_be_written(run_detloss: Run, config: Path, tmp_path: Path) -> None:
    """Another ending is wrong usage; a folder in the place of the image is an error with its path."""
    assert run_detloss("data", str(config), "-o", "a.txt")[0] == 2
    (tmp_path / "folder.png").mkdir()
    code, _, err = run_detloss("data", str(config), "-o", str(tmp_path / "folder.png"))
    assert code == 1
    assert f"{tmp_path / 'folder.png'} cannot be written: Is a directory. Fix: give another --output." in err
