"""`yolo`: the CIoU loss of YOLOv8, v10, 11, 12 and 26."""

from __future__ import annotations

import copy
from typing import Any

import ultralytics.utils.loss
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import BboxLoss, v8DetectionLoss

from detloss.heads.base import Matches
from detloss.loss import at_least_float32
from detloss_ultralytics.models import ModelAdapter

BRANCHES = ("one2many", "one2one")
"""YOLOv10 and 26 have a criterion a branch."""


class YoloAdapter(ModelAdapter):
    """`yolo`: replaces ``box_loss`` of ultralytics' YOLO.

    Pairs are the anchor points that are assigned to an object, weighted with their target scores as in the stock loss.
    The loss is called once a step for each branch. DFL (L1 in YOLO26) stays, and so does the CIoU in the assignment.
    """

    head_name = "yolo"
    host = "ultralytics"
    adapts = DetectionModel
    stock_functions = ((ultralytics.utils.loss, "bbox_iou"),)
    stock_methods = ((BboxLoss, "forward"), (v8DetectionLoss, "get_assigned_targets_and_loss"))

    def changed(self, criterion: Any) -> Any:
        """Give each branch a box loss that asks this head."""
        if isinstance(criterion, v8DetectionLoss):
            criterion.bbox_loss = _BoxLoss(self, criterion.bbox_loss)
            return criterion
        for name in BRANCHES:
            branch = copy.copy(getattr(criterion, name))
            branch.bbox_loss = _BoxLoss(self, branch.bbox_loss)
            setattr(criterion, name, branch)
        return criterion


class _BoxLoss:
    """Stands for the `BboxLoss` of a branch during a step."""

    def __init__(self, head: YoloAdapter, stock: BboxLoss) -> None:
        self.head, self.stock = head, stock

    def __call__(self, pred_dist: Tensor, pred_bboxes: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's loss and the stock DFL or L1 loss."""
        stock_loss, distance_loss = self.stock(pred_dist, pred_bboxes, *rest)
        anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask, imgsz, stride = rest
        image, place = fg_mask.nonzero(as_tuple=True)
        points, strides = at_least_float32(anchor_points[place]), at_least_float32(stride[place])
        targets = at_least_float32(target_bboxes[image, place])
        matches = Matches(
            # Distances from the point to the sides, in strides. In half precision their difference would be rounded.
            pred_deltas=_to_distances(at_least_float32(pred_bboxes[image, place]), points),
            target_boxes=targets * strides,
            decode=lambda deltas: _to_boxes(deltas, points) * strides,
            target_deltas=lambda: _to_distances(targets, points),
            image_size=lambda: imgsz.expand(len(targets), 2),
            weights=target_scores[image, place].sum(-1),
            stock_divisor=target_scores_sum,
            stock_loss=lambda: stock_loss,
            head_output=pred_dist,
        )
        return self.head.box_loss(matches), distance_loss


def _to_distances(boxes: Tensor, points: Tensor) -> Tensor:
    """Left, top, right and bottom of corners."""
    return (boxes - points.repeat(1, 2)) * boxes.new_tensor([-1, -1, 1, 1])


def _to_boxes(distances: Tensor, points: Tensor) -> Tensor:
    return points.repeat(1, 2) + distances * distances.new_tensor([-1, -1, 1, 1])
