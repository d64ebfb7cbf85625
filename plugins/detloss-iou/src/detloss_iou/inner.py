"""Inner-IoU: a wrapper."""

from pydantic import Field
from torch import Tensor

from detloss.boxes import pair_boxes
from detloss_iou.wrapper import IoUWrapper


class InnerIoULoss(IoUWrapper):
    """Inner-IoU: ``L_base + IoU - IoU_inner``.

    ``IoU_inner`` is the IoU of the boxes scaled by ``ratio`` about their own centers. It replaces the IoU of the base;
    the penalties keep the original boxes. A ratio below 1 gives boxes of high IoU larger gradients. A ratio above 1
    helps small objects, which overlap little. 1 is the base itself.

    References:
        Zhang et al., 2023, arXiv 2311.02877.

    Range:
        That of the base; [0, 1] for iou.

    Degenerate boxes:
        Those of the base.
    """

    class Config(IoUWrapper.Config):
        ratio: float = Field(0.7, ge=0.1, le=10)
        """Factor on the sides of both boxes; the paper uses 0.5 to 1.5."""

    space = "boxes"
    config: Config

    def forward(
        self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None, anchors: Tensor | None = None
    ) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        loss = self.base_loss(pred, target, image_size=image_size, anchors=anchors)
        pair = pair_boxes(pred, target)
        return loss + pair.iou(self.eps) - pair.scaled(self.config.ratio).iou(self.eps)
