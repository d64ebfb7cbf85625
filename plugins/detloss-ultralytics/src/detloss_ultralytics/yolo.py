"""`yolo`: the CIoU loss of YOLOv8, v10, 11, 12 and 26."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import ultralytics.utils.loss
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import BboxLoss, v8DetectionLoss

from detloss.heads.base import Example, Matches
from detloss.loss import at_least_float32
from detloss_ultralytics.examples import small, step
from detloss_ultralytics.models import ModelAdapter


class YoloAdapter(ModelAdapter):
    """`yolo`: replaces ``box_loss`` of ultralytics' YOLO.

    Pairs are the anchor points that are assigned to an object, weighted with their target scores as in the stock loss.
    In YOLOv10 and 26 those of both branches are in one call. DFL (L1 in YOLO26) stays, and so does the CIoU in the
    assignment.
    """

    head_name = "yolo"
    host = "ultralytics"
    adapts = DetectionModel
    stock_functions = ((ultralytics.utils.loss, "bbox_iou"),)
    stock_methods = ((BboxLoss, "forward"), (v8DetectionLoss, "get_assigned_targets_and_loss"))

    @classmethod
    def example(cls) -> Example:
        """Return a small YOLO26, which has two branches."""
        # Random weights magnify the rounding of float32.
        return Example(lambda: small(DetectionModel, "yolo26n").double(), step, "box_loss", "ciou")

    def changed(self, criterion: Any) -> Any:
        """Return what stands for the criterion during a step."""
        return _Step(self, criterion)


class _Step:
    """A criterion whose box losses are replaced after a step."""

    def __init__(self, head: YoloAdapter, criterion: Any) -> None:
        self.head, self.criterion = head, criterion
        if isinstance(criterion, v8DetectionLoss):
            self.shares = {criterion: 1.0}
        else:
            for name in ("one2many", "one2one"):
                setattr(criterion, name, copy.copy(getattr(criterion, name)))
            self.shares = {criterion.one2many: criterion.o2m, criterion.one2one: criterion.o2o}
        self.found: list[_Pairs] = []
        for branch in self.shares:
            branch.bbox_loss = _Recording(branch.bbox_loss, self.found)

    def __call__(self, preds: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return losses and their values, as the criterion does."""
        total, items = self.criterion(preds, batch)
        last = list(self.shares)[-1]
        values = self.head.box_loss(_matches(self.found)) * last.hyp.box
        images = self.found[0].images
        box = torch.stack([value * images * share for value, share in zip(values, self.shares.values(), strict=True)])
        # What is shown is the loss of the last branch.
        shown = {**items, last.loss_names[0]: values[-1].detach()}
        return torch.cat([box.sum().reshape(1).to(total.dtype), total[1:]]), shown


class _Recording:
    """Stands for the `BboxLoss` of a branch, and keeps its pairs."""

    def __init__(self, stock: BboxLoss, found: list[_Pairs]) -> None:
        self.stock, self.found = stock, found

    def __call__(self, pred_dist: Tensor, pred_bboxes: Tensor, *rest: Tensor) -> Any:
        losses = self.stock(pred_dist, pred_bboxes, *rest)
        anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask, imgsz, stride = rest
        image, place = fg_mask.nonzero(as_tuple=True)
        self.found.append(
            _Pairs(
                images=len(fg_mask),
                boxes=at_least_float32(pred_bboxes[image, place]),
                targets=at_least_float32(target_bboxes[image, place]),
                points=at_least_float32(anchor_points[place]),
                strides=at_least_float32(stride[place]),
                weights=target_scores[image, place].sum(-1),
                divisor=target_scores_sum,
                image_size=imgsz,
                stock_loss=losses[0],
                head_output=pred_dist,
            )
        )
        return losses


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The pairs of a branch; boxes are corners in strides."""

    images: int
    boxes: Tensor
    targets: Tensor
    points: Tensor
    strides: Tensor
    weights: Tensor
    divisor: Tensor
    image_size: Tensor
    stock_loss: Tensor
    head_output: Tensor


def _matches(found: list[_Pairs]) -> Matches:
    targets, points, strides = (torch.cat([getattr(one, name) for one in found]) for name in _JOINED)
    divisors = [one.divisor.expand(len(one.targets)) for one in found]
    return Matches(
        # In half precision a difference would be rounded.
        pred_deltas=_to_distances(torch.cat([one.boxes for one in found]), points),
        target_boxes=targets * strides,
        decode=lambda deltas: _to_boxes(deltas, points) * strides,
        target_deltas=lambda: _to_distances(targets, points),
        image_size=lambda: found[0].image_size.expand(len(targets), 2),
        weights=torch.cat([one.weights for one in found]),
        stock_divisor=torch.cat(divisors),
        stock_loss=lambda: torch.stack([one.stock_loss for one in found]).sum(),
        head_output=found[0].head_output,
        entries=[len(one.targets) for one in found],
    )


_JOINED = ("targets", "points", "strides")


def _to_distances(boxes: Tensor, points: Tensor) -> Tensor:
    """Left, top, right and bottom of corners."""
    return (boxes - points.repeat(1, 2)) * boxes.new_tensor([-1, -1, 1, 1])


def _to_boxes(distances: Tensor, points: Tensor) -> Tensor:
    return points.repeat(1, 2) + distances * distances.new_tensor([-1, -1, 1, 1])
