"""What became of each detection of an image."""

from __future__ import annotations

import numpy as np
import pytest

from detloss.training.outcomes import Judged, Outcome, Truth, judge

RIGHT, PLACE, CLASS, DUPLICATE, CROWD = Outcome


def judged(
    detections: list[tuple[float, ...]], objects: list[tuple[float, ...]], crowd: tuple[int, ...] = ()
) -> Judged:
    """Judge detections (x1, y1, x2, y2, score, label) by objects (x1, y1, x2, y2, label)."""
    found, truth = np.array(detections).reshape(-1, 6), np.array(objects).reshape(-1, 5)
    crowds = np.isin(np.arange(len(truth)), crowd)
    return judge(
        found[:, :4], found[:, 4], found[:, 5].astype(int), Truth(truth[:, :4], truth[:, 4].astype(int), crowds)
    )


@pytest.mark.parametrize(
    ("detection", "outcome", "iou"),
    [
        ((0, 0, 10, 10, 0.9, 1), RIGHT, 1.0),
        # Half of the object: 50 / 100.
        ((0, 0, 10, 5, 0.9, 1), RIGHT, 0.5),
        # 40 / 100 is too little.
        ((0, 0, 10, 4, 0.9, 1), PLACE, 0.4),
        ((50, 50, 60, 60, 0.9, 1), PLACE, 0.0),
        ((0, 0, 10, 8, 0.9, 2), CLASS, 0.8),
        # Of another class and too far from it: nothing of its own class overlaps.
        ((0, 0, 10, 4, 0.9, 2), PLACE, 0.0),
        # A box without area.
        ((5, 5, 5, 5, 0.9, 1), PLACE, 0.0),
    ],
)
def test_one_detection_of_one_object(detection, outcome, iou):
    """A detection is right from IoU 0.5 on, of a wrong class on an object of another one, else in a wrong place."""
    result = judged([detection], [(0, 0, 10, 10, 1)])
    assert result.outcomes == (outcome,)
    assert result.ious == pytest.approx((iou,))
    assert result.missed == (() if outcome is RIGHT else (0,))


def test_the_second_detection_of_an_object_is_a_duplicate():
    """The highest score takes the object, whatever the order and the IoU; the other one is a duplicate."""
    # IoU 0.6 with score 0.9, and IoU 1 with score 0.8.
    result = judged([(0, 0, 10, 10, 0.8, 1), (0, 0, 10, 6, 0.9, 1)], [(0, 0, 10, 10, 1)])
    assert result.outcomes == (DUPLICATE, RIGHT)
    assert result.ious == pytest.approx((1.0, 0.6))


def test_a_detection_takes_the_free_object_that_it_overlaps_most():
    """Of two objects the first detection takes the closer one, and the second one what is left."""
    objects = [(0, 0, 10, 10, 1), (0, 2, 10, 12, 1)]
    # The first lies on object 0, which the second overlaps by 90 / 110, and object 1 by 90 / 110 too.
    result = judged([(0, 0, 10, 10, 0.9, 1), (0, 1, 10, 11, 0.8, 1)], objects)
    assert result.outcomes == (RIGHT, RIGHT)
    assert result.ious == pytest.approx((1.0, 9 / 11))
    assert result.missed == ()


def test_a_crowd_forgives_what_lies_in_it():
    """A detection that lies in a crowd of its class by half is not counted, of another class it is; none is missed."""
    result = judged(
        [(10, 10, 20, 20, 0.9, 1), (90, 0, 110, 10, 0.8, 1), (10, 10, 20, 20, 0.7, 2)], [(0, 0, 100, 100, 1)], (0,)
    )
    assert result.outcomes == (CROWD, CROWD, PLACE)
    assert result.missed == ()


def test_without_objects_or_detections():
    """Without objects every detection is in a wrong place; without detections every object is missed."""
    assert judged([(0, 0, 1, 1, 0.9, 1)], []).outcomes == (PLACE,)
    assert judged([], [(0, 0, 1, 1, 1), (2, 2, 3, 3, 1)]) == Judged((), (), (0, 1))


def test_quality_by_hand():
    """One right at IoU 0.8, one wrong, one missed: 0.8 / (1 + 1/2 + 1/2) = 0.4; nothing at all is 1."""
    assert Judged((RIGHT, PLACE, CROWD), (0.8, 0.1, 0.9), (1,)).quality == pytest.approx(0.4)
    assert Judged((), (), ()).quality == 1
    assert Judged((), (), (0,)).quality == 0
