"""Segmentations as they are found in the wild."""

from __future__ import annotations

import numpy as np
import pytest
from coco_files import box, write
from hotcoco import mask as rle

from detloss.training.data.datamodule import AugmentedDataset
from detloss.training.data.dataset import CocoDataset
from detloss.training.data.segmentations import mask_of, segmentation_fault
from detloss.training.settings import AugmentConfig


def test_masks_come_from_polygons_and_run_lengths(tmp_path):
    """A mask is 1 inside its polygon or its run-length encoding."""
    # Column by column in a picture 30 high: 60 zeros (2 columns), 30 ones (column 2), the rest zeros.
    runs = {"size": [30, 40], "counts": [60, 30, 1110]}
    square = [[5, 5, 15, 5, 15, 15, 5, 15]]
    annotations = [box(segmentation=square), box(id=2, segmentation=runs)]
    data = CocoDataset(tmp_path, write(tmp_path, annotations=annotations), masks=True)
    masks = data[0][1]["masks"]
    assert masks.shape == (2, 30, 40)
    assert masks[0].sum().item() == 100
    assert masks[0, 10, 10].item() == 1
    assert masks[1].sum(dim=0).tolist() == [0, 0, 30] + [0] * 37
    assert data[1][1]["masks"].shape == (0, 30, 40)


def test_masks_follow_their_boxes_through_augmentation(tmp_path):
    """After flips and crops there is one mask a box, and it lies in the box."""
    squares = [
        box(id=i, bbox=[x, 5, 8, 8], segmentation=[[x, 5, x + 8, 5, x + 8, 13, x, 13]]) for i, x in ((1, 2), (2, 30))
    ]
    data = CocoDataset(tmp_path, write(tmp_path, annotations=squares), masks=True)
    augmented = AugmentedDataset(data, AugmentConfig(scale_jitter=[1.0, 3.0]), seed=0)
    counts = set()
    for epoch in range(12):
        _, target = augmented[epoch, 0]
        counts.add(len(target["boxes"]))
        assert len(target["masks"]) == len(target["boxes"])
        for (x1, y1, x2, y2), mask in zip(target["boxes"].round().int().tolist(), target["masks"], strict=True):
            inside = mask[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
            assert inside.sum() == mask.sum() > 0
    # Some crops lost a square.
    assert len(counts) > 1


SQUARE = [[5, 5, 15, 5, 15, 15, 5, 15]]
UNUSABLE = [
    (None, "null is neither a list of polygons nor a run-length encoding"),
    ("[[5, 5, 15, 5, 15, 15]]", "is neither"),
    (3, "3 is neither"),
    (True, "true is neither"),
    ([], "is empty"),
    ([5, 5, 15, 5, 15, 15], "is one flat list"),
    ([[5, 5], [15, 5], [15, 15]], "fewer than three points"),
    ([[[5, 5], [15, 5], [15, 15]]], "not pairs of finite numbers"),
    ([[5, 5, 15, 15]], "fewer than three points"),
    ([[]], "fewer than three points"),
    ([*SQUARE, [5, 5, 10, 10]], "fewer than three points"),
    ([*SQUARE, None], "not pairs of finite numbers"),
    ([[5, 5, 15, 5, 15, 15, 5]], "not pairs of finite numbers"),
    ([[5, 5, 15, 5, 15, float("nan")]], "not pairs of finite numbers"),
    ([[5, 5, 15, 5, 15, 10**400]], "not pairs of finite numbers"),
    ([[5, 5, 15, 5, 15, "15"]], "not pairs of finite numbers"),
    ([[5, 5, 15, 15, 25, 25]], "covers no pixel of its 40 x 30 image"),
    ([[50, 5, 60, 5, 60, 15]], "covers no pixel of its 40 x 30 image"),
    ({}, "has the size null, not [30, 40]"),
    ({"counts": [60, 30, 1110]}, "has the size null"),
    ({"size": [40, 30], "counts": [60, 30, 1110]}, "has the size [40, 30], not [30, 40]"),
    ({"size": [30, 40, 1], "counts": [60, 30, 1110]}, "has the size [30, 40, 1]"),
    ({"size": 1200, "counts": [60, 30, 1110]}, "has the size 1200"),
    ({"size": [10**6, 10**6], "counts": [10**12]}, "has the size [1000000, 1000000]"),
    ({"size": [30, 40]}, "counts that are not whole numbers"),
    ({"size": [30, 40], "counts": None}, "counts that are not whole numbers"),
    ({"size": [30, 40], "counts": [60, 30.0, 1110]}, "counts that are not whole numbers"),
    ({"size": [30, 40], "counts": [60, -30, 1170]}, "counts that are not whole numbers"),
    ({"size": [30, 40], "counts": [True, 1199]}, "counts that are not whole numbers"),
    ({"size": [30, 40], "counts": [60, 30, 10]}, "counts of 100 pixels; its image has 1200"),
    ({"size": [30, 40], "counts": [10**12]}, "counts of 1000000000000 pixels"),
    ({"size": [30, 40], "counts": [1200]}, "covers no pixel"),
    ({"size": [30, 40], "counts": "l1n0"}, "counts of 90 pixels"),
    ({"size": [30, 40], "counts": ""}, "counts of 0 pixels"),
    ({"size": [30, 40], "counts": "l1n0fR"}, "the last number is not complete"),
    ({"size": [30, 40], "counts": "l1 n0"}, "counts that cannot be read: character ' '"),
    ({"size": [30, 40], "counts": "abc"}, "the last number is not complete"),
    ({"size": [30, 40], "counts": "PPPPPPPPPPPPPPPPPPPPPPPPP2"}, "pixels; its image has 1200"),
    ({"size": [30, 40], "counts": "J0"}, "counts that are not whole numbers"),
]
"""Segmentations in an image of 40 x 30, and what is wrong with each."""


@pytest.mark.parametrize(("segmentation", "fault"), UNUSABLE)
def test_row_42_a_mask_model_reports_what_is_no_mask(tmp_path, segmentation, fault):
    """A box without a usable mask is reported with file, annotation id and reason, and is no target; others are."""
    annotations = [box(id="x7", segmentation=segmentation), box(id=2, bbox=[5, 5, 10, 10], segmentation=SQUARE)]
    file = write(tmp_path, annotations=annotations)
    data = CocoDataset(tmp_path, file, masks=True)
    (skipped,) = data.skipped
    assert str(skipped).startswith(f'{file}: annotation "x7": segmentation')
    assert fault in str(skipped)
    _, target = data[0]
    assert target["boxes"].tolist() == [[5, 5, 15, 15]]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [100]
    # Its box is right: it is still evaluated.
    assert len(data.coco["annotations"]) == 2


@pytest.mark.parametrize("segmentation", [segmentation for segmentation, _ in UNUSABLE])
def test_row_42_a_box_model_never_looks_at_segmentations(tmp_path, segmentation):
    """Without masks a segmentation is not even read, whatever it holds: every box is trained on and evaluated."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(segmentation=segmentation)]))
    assert data.skipped == ()
    assert len(data[0][1]["boxes"]) == 1
    assert "segmentation" not in data.coco["annotations"][0]


def test_a_box_without_a_mask_is_reported_for_mask_models(tmp_path):
    """An annotation without the key `segmentation` is like one whose segmentation is null."""
    data = CocoDataset(tmp_path, write(tmp_path), masks=True)
    assert "annotation 1: segmentation null is neither" in str(data.skipped[0])
    assert not data.has_targets


def test_crowds_and_tiny_boxes_need_no_mask(tmp_path):
    """What is no target anyway is not reported for its segmentation."""
    annotations = [box(iscrowd=1), box(id=2, bbox=[1, 2, 0.5, 5])]
    (skipped,) = CocoDataset(tmp_path, write(tmp_path, annotations=annotations), masks=True).skipped
    assert "less than 1 px" in str(skipped)


@pytest.mark.parametrize("seed", range(5))
def test_compressed_masks_are_read_as_they_were_written(seed):
    """The compressed text of any mask has no fault and gives the mask again, pixel by pixel."""
    pixels = np.random.default_rng(seed).random((30, 40)) < [0.02, 0.1, 0.5, 0.9, 1.1][seed]
    encoded = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    segmentation = {"size": [30, 40], "counts": encoded["counts"].decode()}
    assert segmentation_fault(segmentation, 30, 40) is None
    assert mask_of(segmentation, 30, 40).bool().numpy().tolist() == pixels.tolist()


@pytest.mark.parametrize("polygon", [[5, 5, 15, 15, 15, 5, 5, 15], [5, 5, 15, 15, 15, 5, 5, 15, 5, 5]])
def test_a_polygon_that_crosses_itself_is_a_mask(tmp_path, polygon):
    """A polygon in the form of a bow tie encloses no area by its formula; it has pixels all the same."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(segmentation=[polygon])]), masks=True)
    assert data[0][1]["masks"].sum() > 20


def test_row_42_an_image_beyond_all_images_makes_no_mask(tmp_path):
    """A polygon in an image that is said to be 10^6 pixels wide and high is reported before any memory is taken."""
    images = [{"id": 7, "file_name": "a.png", "width": 10**6, "height": 10**6}]
    runs = {"size": [10**6, 10**6], "counts": [0, 10**12]}
    annotations = [box(segmentation=[[0, 0, 1e6, 0, 1e6, 1e6]]), box(id=2, segmentation=runs)]
    data = CocoDataset(tmp_path, write(tmp_path, images=images, annotations=annotations), masks=True)
    assert ["more than 65536 on a side" in str(entry) for entry in data.skipped] == [True, True]


def test_polygons_far_beyond_their_image_are_cut_at_its_edge(tmp_path):
    """A polygon with coordinates of 1e300 costs no memory and fills its image."""
    annotations = [box(segmentation=[[-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300]])]
    masks = CocoDataset(tmp_path, write(tmp_path, annotations=annotations), masks=True)[0][1]["masks"]
    assert masks.shape == (1, 30, 40)
