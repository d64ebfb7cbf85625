"""Images that their EXIF turns, and boxes that were drawn on them the other way."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from coco_files import box, write
from PIL import Image

from detloss.training.data.dataset import CocoDataset
from detloss.training.data.orientation import Orientations
from detloss.training.data.survey import survey
from detloss.training.folder import write_start
from detloss.training.settings import TrainConfig


def stored(path: Path, size: tuple[int, int], orientation: int) -> None:
    picture = Image.new("RGB", size)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "bbox", "warned"),
    [
        (6, [2, 25, 10, 14], True),  # reaches down to 39 in an image of 40 x 30, and would fit into 30 x 40
        (1, [2, 25, 10, 14], False),  # no EXIF: the box is just too large
        (3, [2, 25, 10, 14], False),  # turned by 180 degrees, which no size tells
        (6, [2, 15, 10, 14], False),  # fits as it is
        (6, [35, 25, 10, 14], False),  # fits neither way
    ],
)
def test_boxes_that_fit_only_the_other_way_are_warned_of(
    tmp_path: Path, orientation: int, bbox: list[int], warned: bool
) -> None:
    """Boxes beyond their image that fit with width and height exchanged, where EXIF exchanges them, are a warning."""
    file = write(tmp_path, annotations=[box(bbox=bbox), box(id=2, bbox=[1, 1, 5, 5])])
    stored(tmp_path / "a.png", (40, 30), orientation)
    warnings = CocoDataset(tmp_path, file).annotations.warnings
    assert bool(warnings) is warned
    if warned:
        assert "1 image has boxes outside of the annotated size" in warnings[0]
        assert "the first is a.png. Fix: exchange `width` and `height`" in warnings[0]


def test_a_run_logs_the_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The warning stands in the log of the start of a run."""
    file = write(tmp_path, annotations=[box(bbox=[2, 25, 10, 14])])
    stored(tmp_path / "a.png", (40, 30), 8)
    split = {"images": str(tmp_path), "annotations": str(file)}
    config = TrainConfig.model_validate(
        {"model": "fasterrcnn", "backbone": "tiny", "data": {"train": split, "val": split}}
    )
    (tmp_path / "run").mkdir()
    with caplog.at_level(logging.WARNING):
        write_start(tmp_path / "run", config, {"train": CocoDataset(tmp_path, file)})
    assert "fit with width and height exchanged" in caplog.text


def test_images_are_counted_by_how_they_are_turned(tmp_path: Path) -> None:
    """The annotated size decides; where it is the same either way (square, mirrored), the image counts as unknown."""
    cases = {"turned": ((30, 40), 6, (40, 30)), "stored": ((40, 30), 6, (40, 30)), "square": ((40, 40), 8, (40, 40))}
    cases |= {"mirrored": ((40, 30), 2, (40, 30)), "upright": ((40, 30), 1, (40, 30))}
    images = []
    for number, (name, (size, orientation, annotated)) in enumerate(cases.items(), start=1):
        stored(tmp_path / f"{name}.png", size, orientation)
        images.append({"id": number, "file_name": f"{name}.png", "width": annotated[0], "height": annotated[1]})
    file = write(tmp_path, images=images, annotations=[box(image_id=1)])
    assert survey(CocoDataset(tmp_path, file)).orientations == Orientations(1, 1, ("square.png", "mirrored.png"))
