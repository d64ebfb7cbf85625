"""What is measured of each run."""

from __future__ import annotations

import numpy as np
import pytest
from made_runs import blurred, truth

from detloss.compare.analysis.measures import common_ious, measure, qualities, replicates
from detloss.training.coco_numbers import matched

TWO = {
    "images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 10000, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 10000, "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "thing"}],
}
"""One object in each of two images."""
ONE = np.array([[1, 0, 0, 82, 100, 0.9, 1]], dtype=float)
"""A box in the first image: it lies within the object and covers 82 % of it, which is its IoU."""


def rows_of(results):
    return np.array([[one["image_id"], *one["bbox"], one["score"], one["category_id"]] for one in results])


def test_numbers_worked_out_by_hand():
    """One of two objects is found with IoU 0.82: precision is 1 up to recall 1/2, where it ends.

    So 51 of the 101 recalls 0, 0.01, ..., 0.5 count at the 7 thresholds 0.50 to 0.80, and none at 0.85 to 0.95.
    """
    found = measure(TWO, ONE)
    assert found.metrics["AP50"] == pytest.approx(51 / 101)
    assert found.metrics["AP"] == pytest.approx(0.7 * 51 / 101)
    assert found.metrics["APs"] == -1
    assert found.by_iou["0.80"] == pytest.approx(51 / 101)
    assert found.by_iou["0.85"] == 0
    assert found.classes == {"thing": pytest.approx(0.7 * 51 / 101)}
    # Without the miss all that is there is found.
    assert found.tide["Miss"] == pytest.approx(50 / 101)
    assert found.tide["Loc"] == 0
    # One detection, right, of score 0.9.
    assert found.calibration_error == pytest.approx(0.1)
    assert found.found == {1: pytest.approx(0.82)}


def test_without_detections():
    """A run that finds nothing has AP 0 and no calibration."""
    found = measure(TWO, np.zeros((0, 7)))
    assert found.metrics["AP"] == 0
    assert found.calibration_error is None
    assert found.found == {}
    assert common_ious([found.found, {1: 0.9}]) == [None, None]


def test_mean_iou_on_objects_that_all_found():
    """Only objects that every run found count: object 2 here, not 1 and 3."""
    assert common_ious([{1: 0.9, 2: 0.8}, {2: 0.6, 3: 0.7}]) == [0.8, 0.6]


def test_quality_of_an_image():
    """IoU of what is right over right + (wrong + missed) / 2; scores below 0.5 do not count."""
    wrong = [1, 0, 0, 10, 10, 0.8, 1]
    weak = [2, 0, 0, 100, 100, 0.49, 1]
    assert qualities(TWO, [1, 2], np.array([weak, *ONE])).tolist() == pytest.approx([0.82, 0])
    assert qualities(TWO, [2, 1], np.array([wrong, *ONE])).tolist() == pytest.approx([0, 0.82 / 1.5])


def test_parts_are_shared():
    """Runs with the same detections have the same AP on every part, and the parts are the same each time."""
    first, second = rows_of(blurred(0, 2)), rows_of(blurred(1, 4))
    table, how = replicates(truth(), [first, second, first], halves=20)
    assert how == "20 random halves of the images"
    assert table.shape == (20, 3)
    assert np.array_equal(table[:, 0], table[:, 2])
    assert len(np.unique(table[:, 0])) > 15
    assert np.array_equal(replicates(truth(), [second], halves=20)[0][:, 0], table[:, 1])


def test_parts_without_an_object_are_left_out():
    """Of two images one shows nothing: the halves with the other one count."""
    empty = {**TWO, "annotations": TWO["annotations"][:1]}
    table, _ = replicates(empty, [ONE], halves=50)
    assert 10 < len(table) < 40
    assert np.allclose(table, 0.7)


def test_standard_error_of_halves():
    """That of a difference agrees with the bootstrap, which draws images several times, and with the jackknife."""
    runs = [rows_of(blurred(0, 1.5)), rows_of(blurred(1, 3))]
    halves = np.diff(replicates(truth(), runs)[0]).std(ddof=1)
    images = [image["id"] for image in truth()["images"]]
    random = np.random.default_rng(1)
    drawn = [random.choice(images, len(images)) for _ in range(500)]
    bootstrap = np.std([ap_with_duplicates(runs[1], ids) - ap_with_duplicates(runs[0], ids) for ids in drawn], ddof=1)
    without = {str(left): [image for image in images if image != left] for left in images}
    columns = [matched(truth(), images, rows, only_ap=True).slice_by(without) for rows in runs]
    one_less = np.array([columns[1][name]["AP"] - columns[0][name]["AP"] for name in without])
    jackknife = np.sqrt((len(images) - 1) * one_less.var())
    assert halves == pytest.approx(bootstrap, rel=0.15)
    assert halves == pytest.approx(jackknife, rel=0.15)


def ap_with_duplicates(rows, drawn):
    """AP on images of which some are there several times, each copy under an id of its own."""
    annotations = [
        {**entry, "image_id": copy}
        for copy, image in enumerate(drawn, start=1)
        for entry in truth()["annotations"]
        if entry["image_id"] == image
    ]
    several = {
        "images": [{"id": copy} for copy in range(1, len(drawn) + 1)],
        "annotations": annotations,
        "categories": truth()["categories"],
    }
    copies = [rows[rows[:, 0] == image] * KEPT + number * ~KEPT for number, image in enumerate(drawn, start=1)]
    everything = list(range(1, len(drawn) + 1))
    return matched(several, everything, np.concatenate(copies), only_ap=True).slice_by({"": everything})[""]["AP"]


KEPT = np.arange(7) > 0
"""The columns of detections but for the image's id."""


def test_jackknife_above_5000_images():
    """From 5,001 images on, each of 100 parts leaves out one group, and every image is left out once."""
    many = {**TWO, "images": [{"id": number} for number in range(1, 5002)]}
    many["annotations"] = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}
        for n in range(1, 5002)
    ]
    half = np.array([[n, 0, 0, 10, 10, 0.9, 1] for n in range(1, 2501)], dtype=float)
    table, how = replicates(many, [half])
    assert how == "jackknife over 100 random groups of the images"
    assert len(table) == 100
    assert table.mean() == pytest.approx(0.5, abs=0.01)


def test_measuring_needs_no_torch(run_python):
    """What measures detections imports no torch."""
    done = run_python("-c", "import sys, detloss.compare.analysis.measures; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr
