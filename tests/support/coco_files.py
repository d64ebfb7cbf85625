"""COCO files and images for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def write(folder: Path, **changed: Any) -> Path:
    """A COCO file of two 40 x 30 pictures and two categories, with some keys changed."""
    folder.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        if not (folder / name).exists():
            Image.new("RGB", (40, 30), (10, 20, 30)).save(folder / name)
    content = {
        "info": {"year": "2024"},
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 30, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 30, "bbox": [1, 2, 10, 20], "area": 150, "iscrowd": 0}],
        **changed,
    }
    file = folder / "annotations.json"
    file.write_text(json.dumps(content))
    return file


def box(**changed: Any) -> dict[str, Any]:
    """An annotation of the first image, with some keys changed."""
    return {"id": 1, "image_id": 7, "category_id": 4, "bbox": [1, 2, 10, 20], **changed}
