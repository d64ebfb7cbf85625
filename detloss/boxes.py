"""Geometry of paired boxes, for writing losses.

Boxes are ``(..., 4)`` as x1, y1, x2, y2 in pixels, and everything works pair by pair. Sides, centers and offsets are
``(2, ...)``: x, then y, so that one operation computes both. A loss compares a pair once and then reads like its
formula::

    pair = pair_boxes(pred, target)
    enclosing = area(pair.enclosing)
    return 1 - pair.iou(eps) + (enclosing - pair.union) / (enclosing + eps)

Coordinates are bounded to 1e9 px, so that no sum of squares overflows float32. A side of an inverted box counts as 0,
so that no two negative sides make a positive area. Where two sides meet, the gradient is that of ``torch.minimum`` and
``torch.maximum`` (half to each) or 0, in every torch version.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import hardtanh

__all__ = [
    "COORDINATE_BOUND",
    "BoxPair",
    "area",
    "bounded",
    "center",
    "inverted",
    "iou",
    "length",
    "pair_boxes",
    "pair_corners",
    "scaled",
    "size",
    "squared_length",
]

COORDINATE_BOUND = 1e9
"""Largest coordinate in pixels: far beyond any image, while the square of an area (1.6e37) still fits float32."""


def iou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """Return intersection over union of each pair, ``I / (U + eps)``.

    Args:
        pred: ``(..., 4)`` boxes.
        target: ``(..., 4)`` boxes.
        eps: Square pixels added to the union, so that two empty boxes have IoU 0.

    Returns:
        ``(...)`` values in [0, 1]; 0, without gradient, where the boxes are disjoint.
    """
    return pair_boxes(pred, target).iou(eps)


def pair_boxes(pred: Tensor, target: Tensor) -> BoxPair:
    """Compare pairs of boxes, each ``(..., 4)``, place by place."""
    return pair_corners(_corners(pred), _corners(target))


def pair_corners(corners: Tensor, target_corners: Tensor) -> BoxPair:
    """Compare pairs of boxes in the layout of `BoxPair.corners`."""
    (lt, rb), (target_lt, target_rb) = corners.unbind(1), target_corners.unbind(1)
    size, target_size = (rb - lt).relu(), (target_rb - target_lt).relu()
    overlap = torch.minimum(rb, target_rb) - torch.maximum(lt, target_lt)
    intersection = area(overlap.relu())
    union = area(size) + area(target_size) - intersection
    return BoxPair(corners, target_corners, size, target_size, overlap, intersection, union)


class BoxPair(NamedTuple):
    """The parts of IoU losses.

    ``(2, ...)`` is x, then y: two rows of numbers that are side by side in memory.
    """

    corners: Tensor
    """``(2, 2, ...)`` the prediction: x1, x2, then y1, y2."""
    target_corners: Tensor
    """``(2, 2, ...)`` the target: x1, x2, then y1, y2."""
    size: Tensor
    """``(2, ...)`` width and height of the prediction, at least 0."""
    target_size: Tensor
    """``(2, ...)`` width and height of the target, at least 0."""
    overlap: Tensor
    """``(2, ...)`` signed sides of the intersection: where the boxes are disjoint, minus their gap."""
    intersection: Tensor
    """``(...)`` area of the intersection."""
    union: Tensor
    """``(...)`` area of the union."""

    def iou(self, eps: float) -> Tensor:
        """Return intersection over union, ``I / (U + eps)``, in [0, 1]."""
        return self.intersection / (self.union + eps)

    @property
    def enclosing(self) -> Tensor:
        """``(2, ...)`` sides of the enclosing box: ``w + W = cw + overlap_w``."""
        return self.size + self.target_size - self.overlap

    @property
    def difference(self) -> Tensor:
        """``(2, 2, ...)`` corners of the prediction minus those of the target."""
        return self.corners - self.target_corners

    @property
    def offset(self) -> Tensor:
        """``(2, ...)`` center of the prediction minus center of the target."""
        return self.difference.mean(1)

    @property
    def inverted(self) -> Tensor:
        """True where the prediction has x2 < x1 or y2 < y1.

        A box without area can still get a low penalty on centers or corners. A loss adds its largest value here, so
        that no inverted box scores better than a disjoint one.
        """
        lt, rb = self.corners.unbind(1)
        return (rb < lt).any(0)

    def scaled(self, ratio: float) -> BoxPair:
        """Return the pair, both boxes scaled about their own centers."""
        # Each corner moves towards the opposite one: half of the way for a ratio of 0.
        way = (1 - ratio) / 2
        corners, target_corners = self.corners, self.target_corners
        return pair_corners(corners.lerp(corners.flip(1), way), target_corners.lerp(target_corners.flip(1), way))

    def center_distance(self, eps: float) -> Tensor:
        """Return DIoU's penalty, ``rho² / (c² + eps)``, in [0, 1).

        ``rho`` is the distance of the centers, ``c`` the diagonal of the enclosing box.
        """
        return squared_length(self.offset) / (squared_length(self.enclosing) + eps)

    def side_difference(self, eps: float) -> Tensor:
        """Return EIoU's penalty on the sides, in [0, 2].

        It is ``(w - W)² / (cw² + eps) + (h - H)² / (ch² + eps)``.
        """
        difference, enclosing = self.size - self.target_size, self.enclosing
        return (difference * difference / (enclosing * enclosing + eps)).sum(0)

    def side_mismatch(self, eps: float) -> Tensor:
        """Return SIoU's ``omega`` of each side, ``(2, ...)`` in [0, 1).

        It is ``|w - W| / (max(w, W) + eps)`` and the same of the heights.
        """
        difference = (self.size - self.target_size).abs()
        # 2 max(w, W) = w + W + |w - W|, whose backward is half of that of a maximum.
        return 2 * difference / (self.size + self.target_size + difference + 2 * eps)

    def aspect_difference(self, eps: float) -> Tensor:
        """Return CIoU's ``v``, the difference of the aspect ratios, in [0, 1].

        It is ``4 / π² (atan(W / H) - atan(w / h))²``.
        ``eps`` pixels are added to every side: without them a box of height 0 has a NaN gradient.
        """
        (w, h), (target_w, target_h) = (self.size + eps).unbind(), (self.target_size + eps).unbind()
        return (2 / math.pi * (torch.atan(target_w / target_h) - torch.atan(w / h))).square()


def size(boxes: Tensor) -> Tensor:
    """Return ``(2, ...)`` sides; inverted ones are 0, without gradient."""
    lt, rb = _ends(boxes)
    return (rb - lt).relu()


def center(boxes: Tensor) -> Tensor:
    """Return the ``(2, ...)`` centers."""
    lt, rb = _ends(boxes)
    return (lt + rb) / 2


def inverted(boxes: Tensor) -> Tensor:
    """Return ``(...)`` booleans: True where x2 < x1 or y2 < y1."""
    lt, rb = _ends(boxes)
    return (rb < lt).any(0)


def bounded(boxes: Tensor) -> Tensor:
    """Return the boxes with coordinates limited to `COORDINATE_BOUND`, without gradient beyond it."""
    # The clamp whose backward is one kernel.
    return hardtanh(boxes, -COORDINATE_BOUND, COORDINATE_BOUND)


def scaled(boxes: Tensor, ratio: float | Tensor) -> Tensor:
    """Return the boxes scaled by ``ratio`` about their own centers."""
    # Each corner moves towards the opposite one: half of the way for a ratio of 0.
    opposite = boxes.roll(2, dims=-1)
    return boxes + (opposite - boxes) * ((1 - ratio) / 2)


def area(sides: Tensor) -> Tensor:
    """Return the ``(...)`` products of ``(2, ...)`` sides."""
    w, h = sides.unbind()
    return w * h


def length(offset: Tensor) -> Tensor:
    """Return the ``(...)`` lengths of ``(2, ...)`` offsets.

    At 0 the gradient is 0, not NaN.
    """
    return (squared_length(offset) + TINY).sqrt()


def squared_length(offset: Tensor) -> Tensor:
    """Return the squared ``(...)`` lengths of ``(2, ...)`` offsets or diagonals."""
    return (offset * offset).sum(0)


TINY = 1e-36
"""Square pixels under a root whose slope at 0 would be infinite; the length of nothing is 1e-18 px."""


def _ends(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(2, ...)`` left top and right bottom corners."""
    columns = boxes.movedim(-1, 0)
    if torch.compiler.is_compiling():
        # A transposed copy would be a loop of its own. Columns that are stacked again are part of the loss's loop.
        x1, y1, x2, y2 = columns.contiguous().unbind()
        return torch.stack([x1, y1]), torch.stack([x2, y2])
    lt, rb = columns.chunk(2)
    return lt, rb


def _corners(boxes: Tensor) -> Tensor:
    """Return bounded ``(2, 2, ...)`` corners.

    x1, x2, then y1, y2; either branch gives the same numbers.
    """
    if torch.compiler.is_compiling():
        return torch.stack(_ends(bounded(boxes)), dim=1)
    return torch.unflatten(bounded(boxes), -1, (2, 2)).movedim((-1, -2), (0, 1)).contiguous()
