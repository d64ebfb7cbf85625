"""What a config says about its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coco_files import box, write

from detloss.errors import ConfigError, DataError
from detloss.training.data.sources import open_datasets, read_config


def config(folder: Path, model: str = "fasterrcnn", **data: Any) -> dict[str, Any]:
    """A config of one COCO file for training and validation."""
    split = {"images": str(folder), "annotations": str(folder / "annotations.json")}
    return {"model": model, "backbone": "mobilenet_v2", "data": {"train": split, "val": split, **data}}


def test_bbox_check_is_switched_off_by_the_word(tmp_path: Path) -> None:
    """`bbox_check: off` in a YAML file is the word, and takes boxes in [0, 1] as pixels."""
    write(tmp_path, annotations=[box(bbox=[0, 0, 1, 1])])
    with pytest.raises(DataError, match="look normalized"):
        open_datasets(read_config(config(tmp_path)))
    file = tmp_path / "config.yaml"
    split = "{images: ., annotations: annotations.json}"
    file.write_text(
        f"model: fasterrcnn\nbackbone: mobilenet_v2\ndata: {{train: {split}, val: {split}, bbox_check: off}}\n"
    )
    assert open_datasets(read_config(file))["train"].has_targets
    with pytest.raises(ConfigError, match="bbox_check"):
        read_config(file, ["data.bbox_check=never"])


def test_a_pixel_range_reaches_every_split(tmp_path: Path) -> None:
    """`pixel_range` counts for training and validation: the color (10, 20, 30) in the range from 0 to 40."""
    write(tmp_path)
    datasets = open_datasets(read_config(config(tmp_path, pixel_range=[0, 40])))
    assert {name: data[0][0][:, 0, 0].tolist() for name, data in datasets.items()} == {
        "train": [0.25, 0.5, 0.75],
        "val": [0.25, 0.5, 0.75],
    }


@pytest.mark.parametrize("values", [[1, 0], [5, 5], [0], [0, 1, 2], 255])
def test_a_pixel_range_is_low_and_high(tmp_path: Path, values: Any) -> None:
    """A range that is not two numbers, the lower one first, is an error of the config."""
    with pytest.raises(ConfigError, match="pixel_range"):
        read_config(config(tmp_path, pixel_range=values))


def test_paths_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is expanded in the path of a config, in the paths of its data and weights, and in overrides."""
    monkeypatch.setenv("HOME", str(tmp_path))
    split = "{images: ~/photos, annotations: ~/b.json}"
    text = f"model: fasterrcnn\nbackbone: mobilenet_v2\ndata: {{train: {split}, val: {split}}}\nweights: ~/w.pth\n"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(text)
    for name in ("w.pth", "v.pth"):
        (tmp_path / name).touch()
    found = read_config("~/a/config.yaml", ["data.val.annotations=~/c.json"])
    assert found.data.train is not None
    assert found.data.val is not None
    assert (found.data.train.images, found.data.val.annotations) == (str(tmp_path / "photos"), str(tmp_path / "c.json"))
    assert found.weights == str(tmp_path / "w.pth")
    assert read_config("~/a/config.yaml", ["weights=~/v.pth"]).weights == str(tmp_path / "v.pth")
    assert read_config(found.model_copy(update={"weights": "~/v.pth"})).weights == str(tmp_path / "v.pth")


def test_data_without_a_usable_box_say_why(tmp_path: Path) -> None:
    """Where every annotation is skipped, the error has the first reason: here boxes without masks."""
    write(tmp_path)
    with pytest.raises(DataError, match=r"no box to train on\. 1 annotations are skipped; the first: .*annotation 1"):
        open_datasets(read_config(config(tmp_path, model="maskrcnn")))
