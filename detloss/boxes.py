"""Geometry of paired boxes, for writing losses.

Boxes are ``(..., 4)`` as x1, y1, x2, y2 in pixels, and everything works pair by pair. A loss compares a pair once and
then reads like its formula::

    pair = pair_boxes(pred, target)
    enclosing = pair.cw * pair.ch
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
from torch.linalg import vector_norm
from torch.nn.functional import hardtanh

__all__ = [
    "COORDINATE_BOUND",
    "BoxPair",
    "area",
    "bounded",
    "center",
    "distance",
    "inverted",
    "iou",
    "pair_boxes",
    "scaled",
    "size",
    "squared_norm",
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
    x1, y1, x2, y2 = _columns(pred)
    target_x1, target_y1, target_x2, target_y2 = _columns(target)
    w, h = (x2 - x1).relu(), (y2 - y1).relu()
    target_w, target_h = (target_x2 - target_x1).relu(), (target_y2 - target_y1).relu()
    overlap_w = torch.minimum(x2, target_x2) - torch.maximum(x1, target_x1)
    overlap_h = torch.minimum(y2, target_y2) - torch.maximum(y1, target_y1)
    intersection = overlap_w.relu() * overlap_h.relu()
    union = w * h + target_w * target_h - intersection
    return BoxPair(
        *(x1, y1, x2, y2, target_x1, target_y1, target_x2, target_y2),
        *(w, h, target_w, target_h, overlap_w, overlap_h, intersection, union),
    )


class BoxPair(NamedTuple):
    """The parts of IoU losses, each ``(...)``.

    x and y are separate: eager torch is fastest on whole columns, and torch.compile makes one kernel of them.
    """

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    target_x1: Tensor
    target_y1: Tensor
    target_x2: Tensor
    target_y2: Tensor
    w: Tensor
    """Width of the prediction, at least 0."""
    h: Tensor
    """Height of the prediction, at least 0."""
    target_w: Tensor
    """Width of the target, at least 0."""
    target_h: Tensor
    """Height of the target, at least 0."""
    overlap_w: Tensor
    """Signed width of the intersection: where the boxes are disjoint in x, minus their gap."""
    overlap_h: Tensor
    """Signed height of the intersection: where the boxes are disjoint in y, minus their gap."""
    intersection: Tensor
    """Area of the intersection."""
    union: Tensor
    """Area of the union."""

    def iou(self, eps: float) -> Tensor:
        """Return intersection over union, ``I / (U + eps)``, in [0, 1]."""
        return self.intersection / (self.union + eps)

    @property
    def cw(self) -> Tensor:
        """Width of the enclosing box: ``w + W = cw + overlap_w``."""
        return self.w + self.target_w - self.overlap_w

    @property
    def ch(self) -> Tensor:
        """Height of the enclosing box: ``h + H = ch + overlap_h``."""
        return self.h + self.target_h - self.overlap_h

    @property
    def dx(self) -> Tensor:
        """Center of the prediction minus center of the target, in x."""
        return (self.x1 - self.target_x1 + self.x2 - self.target_x2) / 2

    @property
    def dy(self) -> Tensor:
        """Center of the prediction minus center of the target, in y."""
        return (self.y1 - self.target_y1 + self.y2 - self.target_y2) / 2

    @property
    def inverted(self) -> Tensor:
        """True where the prediction has x2 < x1 or y2 < y1.

        A box without area can still get a low penalty on centers or corners. A loss adds its largest value here, so
        that no inverted box scores better than a disjoint one.
        """
        return (self.x2 < self.x1) | (self.y2 < self.y1)

    def center_distance(self, eps: float) -> Tensor:
        """Return DIoU's penalty, ``rho² / (c² + eps)``, in [0, 1).

        ``rho`` is the distance of the centers, ``c`` the diagonal of the enclosing box.
        """
        dx, dy, cw, ch = self.dx, self.dy, self.cw, self.ch
        return (dx * dx + dy * dy) / (cw * cw + ch * ch + eps)

    def side_difference(self, eps: float) -> Tensor:
        """Return EIoU's penalty on the sides, in [0, 2].

        It is ``(w - W)² / (cw² + eps) + (h - H)² / (ch² + eps)``.
        """
        dw, dh, cw, ch = self.w - self.target_w, self.h - self.target_h, self.cw, self.ch
        return dw * dw / (cw * cw + eps) + dh * dh / (ch * ch + eps)

    def aspect_difference(self, eps: float) -> Tensor:
        """Return CIoU's ``v``, the difference of the aspect ratios, in [0, 1].

        It is ``4 / π² (atan(W / H) - atan(w / h))²``.
        ``eps`` pixels are added to every side: without them a box of height 0 has a NaN gradient.
        """
        target_angle = torch.atan((self.target_w + eps) / (self.target_h + eps))
        angle = torch.atan((self.w + eps) / (self.h + eps))
        return (2 / math.pi * (target_angle - angle)).square()


def size(boxes: Tensor) -> Tensor:
    """Return ``(..., 2)`` sides; inverted ones are 0, without gradient."""
    lt, rb = boxes.chunk(2, dim=-1)
    return (rb - lt).relu()


def center(boxes: Tensor) -> Tensor:
    """Return the ``(..., 2)`` centers."""
    lt, rb = boxes.chunk(2, dim=-1)
    return (lt + rb) / 2


def inverted(boxes: Tensor) -> Tensor:
    """Return ``(...)`` booleans: True where x2 < x1 or y2 < y1."""
    lt, rb = boxes.chunk(2, dim=-1)
    in_x, in_y = (rb < lt).unbind(dim=-1)
    return in_x | in_y


def bounded(boxes: Tensor) -> Tensor:
    """Return the boxes with coordinates limited to `COORDINATE_BOUND`, without gradient beyond it."""
    # The clamp whose backward is one kernel.
    return hardtanh(boxes, -COORDINATE_BOUND, COORDINATE_BOUND)


def scaled(boxes: Tensor, ratio: float | Tensor) -> Tensor:
    """Return the boxes scaled by ``ratio`` about their own centers."""
    lt, rb = boxes.chunk(2, dim=-1)
    middle, half_size = (lt + rb) / 2, (rb - lt) * (ratio / 2)
    return torch.cat([middle - half_size, middle + half_size], dim=-1)


def area(size: Tensor) -> Tensor:
    """Return the ``(...)`` products of ``(..., 2)`` widths and heights."""
    w, h = size.unbind(dim=-1)
    return w * h


def distance(dx: Tensor, dy: Tensor) -> Tensor:
    """Return ``sqrt(dx² + dy²)``; at 0 the gradient is 0, not NaN."""
    length: Tensor = vector_norm(torch.stack([dx, dy], dim=-1), dim=-1)
    return length


def squared_norm(offset: Tensor) -> Tensor:
    """Return squared lengths ``(...)`` of ``(..., 2)`` offsets or diagonals."""
    x, y = offset.unbind(dim=-1)
    return x * x + y * y


def _columns(boxes: Tensor) -> tuple[Tensor, ...]:
    """Return x1, y1, x2, y2, bounded; either branch gives the same numbers."""
    if torch.compiler.is_compiling():
        # One loop over contiguous columns: bounding them together would need an extra kernel and buffer.
        return tuple(bounded(column) for column in boxes.movedim(-1, 0).contiguous().unbind())
    return bounded(boxes).unbind(dim=-1)
