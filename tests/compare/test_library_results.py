"""Predictions of ultralytics and transformers, with the ids of a ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from coco_files import write

from detloss.compare import from_transformers, from_ultralytics, write_run
from detloss.errors import ConfigError, DataError

NAMES = {0: "cat", 1: "dog"}


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Images a.png and b.png with the ids 7 and 9; dog has the id 30, cat 4."""
    return write(tmp_path)


def of_ultralytics(folder: Path, category: int, name: str = "b.png") -> Path:
    """A file as its validation writes it: an image has its stem as id, a class its number from 1."""
    file = folder / "predictions.json"
    row = {"image_id": "b", "file_name": name, "category_id": category, "bbox": [1.5, 2, 10, 20], "score": 0.5}
    file.write_text(json.dumps([row]))
    return file


def test_predictions_of_ultralytics(tmp_path: Path, truth: Path) -> None:
    """Images are found by their file and classes by their name; what results is written as a run."""
    found = from_ultralytics(of_ultralytics(tmp_path, 2), truth, names=NAMES)
    assert found == [{"image_id": 9, "category_id": 30, "bbox": [1.5, 2, 10, 20], "score": 0.5}]
    assert from_ultralytics(of_ultralytics(tmp_path, 4), truth)[0]["category_id"] == 4
    run = write_run(tmp_path / "run", name="a", seed=0, predictions=found, ground_truth=truth)
    assert json.loads((run / "predictions.json").read_text()) == found


def test_results_of_transformers(truth: Path) -> None:
    """Corners become x, y, width and height; images are found by their file and classes by their name."""
    one = {
        "scores": torch.tensor([0.5, 0.25]),
        "labels": torch.tensor([1, 0]),
        "boxes": torch.tensor([[1.0, 2, 11, 22], [3, 4, 5, 8]]),
    }
    none = {key: value[:0] for key, value in one.items()}
    assert from_transformers([none, one], ["images/a.png", "images\\b.png"], truth, names=NAMES) == [
        {"image_id": 9, "category_id": 30, "bbox": [1, 2, 10, 20], "score": 0.5},
        {"image_id": 9, "category_id": 4, "bbox": [3, 4, 2, 4], "score": 0.25},
    ]


def test_predictions_of_something_else(tmp_path: Path, truth: Path) -> None:
    """Other files, images and classes are refused; a class with a similar name is suggested."""
    with pytest.raises(ConfigError, match=r"cannot be read: No such file(?s:.*)save_json=True"):
        from_ultralytics(tmp_path / "none.json", truth)
    with pytest.raises(ConfigError, match=r"annotations\.json is not a predictions\.json of ultralytics"):
        from_ultralytics(truth, truth)
    with pytest.raises(ConfigError, match=r"with these names \(KeyError: 2\)"):
        from_ultralytics(of_ultralytics(tmp_path, 3), truth, names=NAMES)
    with pytest.raises(DataError, match=r"has no category Dog; did you mean 'dog'\? Fix"):
        from_ultralytics(of_ultralytics(tmp_path, 1), truth, names={0: "Dog"})
    with pytest.raises(DataError, match=r"has no category bicycle\. It has dog, cat\. Fix"):
        from_ultralytics(of_ultralytics(tmp_path, 1), truth, names={0: "bicycle"})
    with pytest.raises(DataError, match=r"has no image c\.png\. Fix"):
        from_ultralytics(of_ultralytics(tmp_path, 1, "c.png"), truth, names=NAMES)


def test_results_in_another_format(truth: Path) -> None:
    """Normalized boxes, a missing result and a label without a name are refused."""
    one = {"scores": torch.tensor([0.5]), "labels": torch.tensor([1]), "boxes": torch.tensor([[0.1, 0.2, 0.5, 1.01]])}
    with pytest.raises(ConfigError, match=r"look normalized(?s:.*)target_sizes"):
        from_transformers([one], ["a.png"], truth, names=NAMES)
    with pytest.raises(ConfigError, match="found 1 results and 2 file names"):
        from_transformers([one], ["a.png", "b.png"], truth, names=NAMES)
    with pytest.raises(ConfigError, match=r"found 1, expected one of \[0\]"):
        from_transformers([{**one, "boxes": one["boxes"] * 30}], ["a.png"], truth, names={0: "cat"})


def test_two_images_of_one_name(tmp_path: Path, truth: Path) -> None:
    """A file name that stands for two images is refused."""
    content = json.loads(truth.read_text())
    content["images"][1]["file_name"] = "other/a.png"
    truth.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"several images are called a\.png"):
        from_ultralytics(of_ultralytics(tmp_path, 1, "a.png"), truth, names=NAMES)
