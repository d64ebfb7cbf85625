"""Segmentations of COCO annotations: their faults, and their masks."""

from typing import Any

import torch
from hotcoco import mask
from torch import Tensor

from detloss.training.data.records import is_number, shown

_LONGEST_SIDE = 2**16
"""Longest side of an image with masks; the memory of a polygon grows with it."""


def segmentation_fault(segmentation: object, height: int, width: int) -> str | None:
    """Why a segmentation is not a mask in this image, or None."""
    if isinstance(segmentation, list):
        fault = _polygons_fault(segmentation)
    elif isinstance(segmentation, dict):
        fault = _runs_fault(segmentation, height, width)
    else:
        fault = "is neither a list of polygons nor a run-length encoding"
    if fault is None and max(height, width) > _LONGEST_SIDE:
        fault = f"belongs to an image of {width} x {height} pixels, more than {_LONGEST_SIDE} on a side"
    if fault is None and not mask.area(_encoded(segmentation, height, width)):
        fault = f"covers no pixel of its {width} x {height} image"
    return fault and f"segmentation {shown(segmentation)} {fault}"


def mask_of(segmentation: Any, height: int, width: int) -> Tensor:
    """``(H, W)`` uint8 mask of a correct segmentation."""
    return torch.from_numpy(mask.decode(_encoded(segmentation, height, width)).copy())


def _encoded(segmentation: Any, height: int, width: int) -> Any:
    """Polygons and run lengths as one compressed encoding."""
    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects(segmentation, height, width))
    plain = isinstance(segmentation["counts"], list)
    return mask.frPyObjects(segmentation, height, width) if plain else segmentation


def _polygons_fault(polygons: list[Any]) -> str | None:
    if any(map(is_number, polygons)):
        return "is one flat list, not a list of polygons [[x1, y1, x2, y2, ...], ...]"
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_number, polygon)):
            return "has a polygon that is not pairs of finite numbers [x1, y1, x2, y2, ...]"
        if len(polygon) < 6:
            return "has a polygon of fewer than three points"
    return None if polygons else "is empty"


def _runs_fault(runs: dict[str, Any], height: int, width: int) -> str | None:
    size, counts = runs.get("size"), runs.get("counts")
    if size != [height, width]:
        return f"has the size {shown(size)}, not [{height}, {width}] (height, width) of its image"
    try:
        lengths = _lengths(counts) if isinstance(counts, str) else counts
    except ValueError as error:
        return f"has counts that cannot be read: {error}"
    if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
        return "has counts that are not whole numbers from 0 or their compressed text"
    if sum(lengths) != height * width:
        return f"has counts of {sum(lengths)} pixels; its image has {height * width}"
    return None


def _lengths(text: str) -> list[int]:
    """The run lengths in COCO's compressed text.

    Five bits a character; each length but the first three is a difference.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits < 32:
            value -= (bits >> 4) << shift  # the sign
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the last number is not complete")
    return lengths
