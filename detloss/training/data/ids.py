"""Finds the image or category of an id in a COCO file."""

import re
from collections.abc import Iterable, Sequence

from detloss.training.data.records import is_number

Key = int | float | str


def key_of(value: object) -> Key | None:
    """An id for comparison (1.0 is 1, "1" is not), or None."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and is_number(value):
        return int(value) if value == int(value) else value
    return None


def places_of(ids: Sequence[Key | None], references: Iterable[Key | None]) -> dict[Key | None, int]:
    """The place in `ids`, from 1, of each id and reference.

    A reference to nothing has none.

    Text of digits and numbers match only if one side has only text of digits, and no two ids of a side are the same
    number.
    """
    places = {key: place for place, key in enumerate(ids, start=1)}
    sides = (set(ids), set(references) - {None})
    only_digits = any(
        side and all(isinstance(_number(key), int) and isinstance(key, str) for key in side) for side in sides
    )
    if only_digits and all(len({_number(key) for key in side}) == len(side) for side in sides):
        twins = {(_number(key), isinstance(key, str)): place for key, place in places.items()}
        for key in sides[1]:
            if twin := twins.get((_number(key), not isinstance(key, str))):
                places.setdefault(key, twin)
    return places


def _number(key: Key | None) -> Key | None:
    return int(key) if isinstance(key, str) and re.fullmatch("[0-9]{1,300}", key) else key
