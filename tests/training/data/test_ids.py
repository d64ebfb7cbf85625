"""Which image or category an id means."""

from __future__ import annotations

from typing import Any

import pytest
from coco_files import box, write

from detloss.training.data.dataset import CocoDataset
from detloss.training.data.ids import key_of, places_of


@pytest.mark.parametrize(
    ("ids", "reference", "place"),
    [
        ([1, 2], 2, 2),
        ([1, 2], 2.0, 2),
        ([1.0, 2.0], 2, 2),
        ([1.5, 2], 1.5, 1),
        (["a", "b"], "b", 2),
        # One side is text of digits and nothing else.
        (["1", "2"], 2, 2),
        (["1", "2"], 2.0, 2),
        ([1, 2], "2", 2),
        ([1.0, 2.0], "2", 2),
        (["000000000139"], 139, 1),
        ([139], "000000000139", 1),
        ([1, "a"], "1", 1),
        # Another text beside it, on the side of the text: 1 and "1" are two things.
        (["1", "a"], 1, None),
        # Two texts for one number.
        (["7", "07"], 7, None),
        (["7", "07"], "07", 2),
        # Text means text first, and never another text.
        (["07"], "7", None),
        ([1], "1.0", None),
        (["1.0"], 1, None),
        ([1], "x", None),
        ([1], "\u0661", None),
        ([1], "9" * 5000, None),
        # Values that are no ids.
        ([1], True, None),
        ([0], False, None),
        ([1], None, None),
        ([1], [1], None),
        ([1], {}, None),
        ([1], float("nan"), None),
    ],
)
def test_an_id_means_one_thing(ids: list[Any], reference: Any, place: int | None) -> None:
    """1 and 1.0 are one id; text of digits is a number only where nothing else can be meant."""
    keys = [key_of(identity) for identity in ids]
    assert places_of(keys, [key_of(reference)]).get(key_of(reference)) == place


def test_references_of_both_kinds_match_nothing_but_their_own() -> None:
    """Where references are numbers and text mixed, and so are the ids, each matches its own kind alone."""
    places = places_of([1, "2"], [1, "1", 2, "2"])
    assert [places.get(reference) for reference in (1, "1", 2, "2")] == [1, None, None, 2]


def test_two_references_that_are_one_number_match_no_number() -> None:
    """References "7" and "07" are two things, so that neither is taken for the image 7."""
    places = places_of([7], ["7", "07"])
    assert [places.get(reference) for reference in ("7", "07")] == [None, None]


@pytest.mark.parametrize(("image", "category"), [(7.0, 4.0), ("7", "4"), (7, "4")])
def test_annotations_find_their_image_and_category(tmp_path: Any, image: Any, category: Any) -> None:
    """A file whose annotations write their references otherwise than the ids loses none of them."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(image_id=image, category_id=category)]))
    assert data.skipped == ()
    assert data[0][1]["labels"].tolist() == [1]
