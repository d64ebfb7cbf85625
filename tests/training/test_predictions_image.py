"""The image of a run's predictions."""

from __future__ import annotations

import numpy as np
import pytest
from coco_files import write
from PIL import Image, ImageColor

from detloss.training.data.dataset import CocoDataset
from detloss.training.evaluation import Detections
from detloss.training.predictions_image import draw_predictions

COLORS = {
    "right": "#009e73",
    "wrong place": "#e69f00",
    "wrong class": "#cc79a7",
    "duplicate": "#56b4e9",
    "missed": "#d55e00",
}
SIDE, MARGIN = 480, 8
PARTS = ("boxes", "scores", "labels")


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """Twelve gray images of 64 x 64 pixels with a cat each, whose box is (10, 20, 30, 50), and one without."""
    folder = tmp_path_factory.mktemp("gray")
    Image.new("RGB", (64, 64), "gray").save(folder / "a.png")
    numbers = range(1, 14)
    file = write(
        folder,
        images=[{"id": number, "file_name": "a.png", "width": 64, "height": 64} for number in numbers],
        categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        annotations=[
            {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 20, 20, 30]} for number in numbers[:-1]
        ],
    )
    return CocoDataset(folder, file)


def found(image_id: int, score: float = 0.9, shift: float = 0.0, label: int = 1, times: int = 1) -> Detections:
    """The cat of an image, `shift` pixels to the right."""
    boxes = np.array([[10 + shift, 20, 30 + shift, 50]] * times, dtype=np.float32).reshape(-1, 4)
    return Detections(image_id, boxes, np.full(times, score, np.float32), np.full(times, label))


def shown(image: Image.Image) -> set[str]:
    """Outcomes that labels, or the legend, show in their colors."""
    pixels = np.asarray(image)
    return {name for name, color in COLORS.items() if (pixels == ImageColor.getrgb(color)).all(axis=-1).sum() > 400}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"right"}),
        # 2 of 38 columns in common.
        ({"shift": 18}, {"wrong place", "missed"}),
        ({"label": 2}, {"wrong class", "missed"}),
        ({"times": 2}, {"right", "duplicate"}),
        # Below the threshold it is still one of the best few.
        ({"score": 0.1}, {"right"}),
        ({"times": 0}, {"missed"}),
    ],
)
def test_a_prediction_has_the_color_of_what_became_of_it(gray, options, expected):
    """Right, in a wrong place, of a wrong class or a duplicate has a color each, and so has a missed object."""
    drawn = draw_predictions(gray, [found(1, **options)], 1)
    assert shown(drawn.crop((0, 0, drawn.width, SIDE))) == expected


def test_only_the_best_few_below_the_threshold_are_drawn(gray):
    """Where one detection reaches the threshold, no other one is drawn."""
    low, high = found(1, score=0.4, shift=30), found(1, score=0.6)
    both = Detections(1, *(np.concatenate([getattr(low, key), getattr(high, key)]) for key in PARTS))
    drawn = draw_predictions(gray, [both], 1)
    assert shown(drawn.crop((0, 0, drawn.width, SIDE))) == {"right"}


def test_the_images_are_spread_from_the_worst_to_the_best(gray):
    """Of twelve images of which only number 6 is wrong two are drawn: number 6, and one that is right."""
    results = [found(number, shift=18 if number == 6 else 0) for number in range(1, 13)]
    drawn = draw_predictions(gray, results, 2)
    assert drawn.width == 2 * SIDE + 3 * MARGIN
    assert "wrong place" in shown(drawn.crop((0, 0, SIDE + MARGIN, SIDE)))
    assert shown(drawn.crop((SIDE + 2 * MARGIN, 0, drawn.width, SIDE))) == {"right"}
    assert drawn.tobytes() == draw_predictions(gray, results, 2).tobytes(), "the same detections give the same image"


def test_more_images_are_asked_for_than_there_are(gray):
    """Then all are drawn, three in a row; also that in which nothing is and nothing was found."""
    drawn = draw_predictions(gray, [found(number, times=number % 2) for number in (1, 2, 3, 12, 13)], 9)
    assert drawn.width == 3 * SIDE + 4 * MARGIN
    assert drawn.height > 2 * SIDE
