"""`yolo_rtdetr`: the GIoU loss of ultralytics' RT-DETR."""

from __future__ import annotations

from typing import Any

import torch
import ultralytics.models.utils.loss
from torch import Tensor
from torchvision.ops import box_convert
from ultralytics.models.utils.loss import DETRLoss, RTDETRDetectionLoss
from ultralytics.nn.tasks import RTDETRDetectionModel

from detloss.heads.base import Example, Matches
from detloss_ultralytics.examples import small, step
from detloss_ultralytics.models import ModelAdapter


class RTDETRAdapter(ModelAdapter):
    """`yolo_rtdetr`: replaces the GIoU terms of ultralytics' RT-DETR.

    Pairs are the matched queries of all layers, with the encoder and denoising. The loss is called once a step. L1
    stays, and so does the matching.
    """

    head_name = "yolo_rtdetr"
    host = "ultralytics"
    adapts = RTDETRDetectionModel
    stock_functions = ((ultralytics.models.utils.loss, "bbox_iou"),)
    stock_methods = (
        (DETRLoss, "_get_loss_bbox"),
        (DETRLoss, "_get_loss_aux"),
        (RTDETRDetectionLoss, "forward"),
    )

    @classmethod
    def example(cls) -> Example:
        """Return a small RT-DETR."""
        return Example(lambda: small(RTDETRDetectionModel, "yolov8n-rtdetr"), step, "giou_loss", "giou")

    def loss(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Remember the size of the images."""
        with self.recording() as record:
            record["size"] = batch["img"].shape[-2:]
            return super().loss(batch, *args, **kwargs)

    def changed(self, criterion: Any) -> Any:
        """Collect the pairs of all layers, then replace their losses."""
        stock = criterion._get_loss_bbox, criterion._get_loss_aux, criterion.forward
        layers: list[tuple[str, Tensor, Tensor, Tensor]] = []
        auxiliary = [""]

        def bbox(pred_bboxes: Tensor, gt_bboxes: Tensor, postfix: str = "") -> Any:
            losses = stock[0](pred_bboxes, gt_bboxes, postfix)
            layers.append((f"loss_giou{auxiliary[-1]}{postfix}", pred_bboxes, gt_bboxes, losses[f"loss_giou{postfix}"]))
            return losses

        def aux(*args: Any, **kwargs: Any) -> Any:
            auxiliary.append("_aux")
            try:
                return stock[1](*args, **kwargs)
            finally:
                auxiliary.pop()

        def forward(preds: Any, *args: Any, **kwargs: Any) -> Any:
            losses = stock[2](preds, *args, **kwargs)
            gain = criterion.loss_gain["giou"]
            values = gain * self.box_loss(_matches(layers, preds[0], self.record["size"], gain))
            for name in dict.fromkeys(name for name, *_ in layers):
                chosen = [place for place, (each, *_) in enumerate(layers) if each == name]
                losses[name] = values[chosen].sum()
            return losses

        criterion._get_loss_bbox, criterion._get_loss_aux, criterion.forward = bbox, aux, forward
        return criterion


def _matches(
    layers: list[tuple[str, Tensor, Tensor, Tensor]], head_output: Tensor, size: tuple[int, int], gain: float
) -> Matches:
    counts = [len(target) for _, _, target, _ in layers]
    targets = torch.cat([target for _, _, target, _ in layers])
    height, width = size
    scale = targets.new_tensor([width, height, width, height])
    divisors = targets.new_tensor(counts).clamp(min=1)

    def decode(boxes: Tensor) -> Tensor:
        corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
        return corners * scale

    return Matches(
        # Center, width and height, in sizes of the image.
        pred_deltas=torch.cat([pred for _, pred, _, _ in layers]),
        target_boxes=decode(targets),
        decode=decode,
        target_deltas=lambda: targets,
        image_size=lambda: targets.new_tensor([height, width]).expand(len(targets), 2),
        stock_divisor=divisors.repeat_interleave(torch.tensor(counts, device=targets.device)),
        stock_loss=lambda: torch.stack([value for *_, value in layers]).sum() / gain,
        head_output=head_output,
        entries=counts,
    )
