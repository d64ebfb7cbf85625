from __future__ import annotations

import numpy as np
import pytest
import torch

from detloss.training.data.synthetic import SHAPES, ShapesDataset, synthesize
from detloss.training.settings import ShapesConfig

MADE = [synthesize(seed, 96, max_objects=4) for seed in range(60)]


def test_the_same_seed_gives_the_same_images() -> None:
    """An image is a function of its seed; train and val have none in common."""
    config = ShapesConfig(train=5, val=5, size=64)
    train, again, val = ShapesDataset(config), ShapesDataset(config), ShapesDataset(config, "val")
    for index in range(5):
        assert torch.equal(train[index][0], again[index][0])
        assert not torch.equal(train[index][0], val[index][0])
    assert train.coco == again.coco


def test_test_images_are_further_ones() -> None:
    """Test images are others than those to train and to validate on, which stay as they are."""
    config = ShapesConfig(train=3, val=3, test=3, size=64)
    splits = [ShapesDataset(config, part) for part in ("train", "val", "test")]
    assert splits[0].coco == ShapesDataset(ShapesConfig(train=3, size=64)).coco
    assert len({split[index][0].numpy().tobytes() for split in splits for index in range(3)}) == 9


def test_objects_lie_in_their_image() -> None:
    """Every box lies in its image and has an area; every label is one of the shapes; there are 0 to 4 of them."""
    for image, boxes, labels in MADE:
        assert image.shape == (96, 96, 3)
        assert all(0 <= x1 < x2 <= 96 and 0 <= y1 < y2 <= 96 for x1, y1, x2, y2 in boxes)
        assert all(1 <= label <= len(SHAPES) for label in labels)
    assert {len(boxes) for _, boxes, _ in MADE} == {0, 1, 2, 3, 4}


def test_localization_is_not_trivial() -> None:
    """Objects have many sizes and aspect ratios, and some boxes overlap."""
    boxes = np.array([box for _, found, _ in MADE for box in found], dtype=float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert np.ptp(np.maximum(width, height)) > 30
    assert (width / height).min() < 0.5
    assert (width / height).max() > 2
    apart = [
        max(a[0], b[0]) >= min(a[2], b[2]) or max(a[1], b[1]) >= min(a[3], b[3])
        for _, found, _ in MADE
        for i, a in enumerate(found)
        for b in found[:i]
    ]
    assert 0.5 < np.mean(apart) < 0.95


@pytest.mark.parametrize("seed", [0, 2, 3, 5])
def test_a_box_is_tight_around_what_can_be_seen(seed: int) -> None:
    """Without noise a box is where the image changes: its outermost rows and columns hold the object's color."""
    image, boxes, _ = synthesize(seed, 64, max_objects=1, noise=False)
    ((x1, y1, x2, y2),) = boxes
    # No object touches all corners: the color of most of them is the ground's.
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    colors, counts = np.unique(corners, axis=0, return_counts=True)
    changed = (image != colors[counts.argmax()]).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x1, y1, x2, y2)


def test_a_covered_object_keeps_what_can_be_seen() -> None:
    """Where objects overlap, no box is that of a hidden part: each of its sides has a pixel of its object."""
    covered = 0
    for seed in range(40):
        image, boxes, _ = synthesize(seed, 96, max_objects=5, noise=False)
        for number, (x1, y1, x2, y2) in enumerate(boxes):
            # Without noise an object is of one color; what covers it has another.
            inside, counts = np.unique(image[y1:y2, x1:x2].reshape(-1, 3), axis=0, return_counts=True)
            sides = [image[y1, x1:x2], image[y2 - 1, x1:x2], image[y1:y2, x1], image[y1:y2, x2 - 1]]
            shared = set.intersection(*({tuple(pixel) for pixel in side.tolist()} for side in sides))
            assert shared & {tuple(color) for color in inside.tolist()}, (seed, number)
            covered += len(counts) > 2
    assert covered > 10


def test_some_images_have_no_object() -> None:
    """Images without objects are part of the data set, as in real data."""
    data = ShapesDataset(ShapesConfig(train=40, size=64))
    assert 0 < sum(len(target["boxes"]) == 0 for _, target in (data[i] for i in range(40))) < 15
