"""The values of a loss at pairs of boxes, whatever its space."""

import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss

IMAGE_SIZE = (600.0, 800.0)
"""Height and width in pixels of the image in which the boxes lie."""
CENTER, SIDES = (400.0, 300.0), (80.0, 60.0)
"""Of a target in it, in pixels."""


def values_at(loss: BoxRegressionLoss, pred: Tensor, target: Tensor, anchors: Tensor | None = None) -> Tensor:
    """Return ``(N,)`` values of a loss at boxes in pixels.

    A loss on deltas gets both boxes encoded against the anchors, as torchvision's RetinaNet and RPN do.

    Args:
        loss: The loss.
        pred: ``(N, 4)`` predictions: x1, y1, x2, y2.
        target: ``(N, 4)`` targets.
        anchors: ``(N, 4)`` the anchors of the predictions; by default the targets.
    """
    anchors = target if anchors is None else anchors
    extras = {"image_size": target.new_tensor(IMAGE_SIZE).expand(len(target), 2), "anchors": anchors}
    boxes = (pred, target) if loss.space == "boxes" else (_deltas(pred, anchors), _deltas(target, anchors))
    values: Tensor = loss(*boxes, **{name: extras[name] for name in loss.extras})
    return values


def corners(center: Tensor, sides: Tensor) -> Tensor:
    """Return ``(N, 4)`` boxes of centers and sides, ``(N, 2)`` each."""
    return torch.cat([center - sides / 2, center + sides / 2], dim=-1)


def _deltas(boxes: Tensor, anchors: Tensor) -> Tensor:
    sides, anchor_sides = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    offset = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return torch.cat([offset / anchor_sides, (sides / anchor_sides).log()], dim=-1)
