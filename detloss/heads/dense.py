"""Shared by the one-stage detectors: RetinaNet, FCOS and SSD match anchors themselves."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from detloss.heads.base import HeadAdapter, Recorded, image_sizes
from detloss.heads.losses import Matches
from detloss.loss import EXTRAS


class Matching(NamedTuple):
    """A detector's matches of the anchors, and its encoding of boxes."""

    matched_idxs: list[Tensor]
    """``(A,)`` for each image: the index of each anchor's box, negative without a box."""
    encode: Callable[[Tensor, Tensor], Tensor]
    """``(boxes, anchors) -> deltas``."""
    decode: Callable[[Tensor, Tensor], Tensor]
    """``(deltas, anchors) -> boxes``."""


class DenseAdapter(HeadAdapter):
    """Base of the adapters of one-stage detectors.

    A concrete adapter returns the matches in `matching`.
    """

    supplies = frozenset(EXTRAS)
    per_image: ClassVar[bool] = False
    """Whether the stock loss is divided by each image's positives and the number of images, or by all positives."""

    transform: Any = Recorded()
    head: Any = Recorded("compute_loss")

    def matching(self, *rest: Any, **named: Any) -> Matching:
        """Return the matches of this step.

        The arguments are those of `compute_loss` besides targets, outputs and anchors.
        """
        raise NotImplementedError

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        *rest: Any,
        **named: Any,
    ) -> dict[str, Tensor]:
        """Replace the box loss of the detector's losses."""
        with self.recording():
            losses: dict[str, Tensor] = super().compute_loss(  # type: ignore[misc]  # the detector's own
                targets, head_outputs, anchors, *rest, **named
            )
            matched_idxs, encode, decode = self.matching(*rest, **named)
            regression, stock_loss = head_outputs["bbox_regression"], losses["bbox_regression"]
            matched = torch.stack(matched_idxs)
            image, anchor = torch.where(matched >= 0)
            counts = [len(target["boxes"]) for target in targets]
            first = torch.tensor([sum(counts[:index]) for index in range(len(counts))], device=matched.device)
            target_boxes = torch.cat([target["boxes"] for target in targets])[first[image] + matched[image, anchor]]
            matched_anchors = torch.stack(anchors)[image, anchor]
            positives = (matched >= 0).sum(dim=1).clamp(min=1)
            losses["bbox_regression"] = self.box_loss(
                Matches(
                    pred_deltas=regression[image, anchor],
                    target_boxes=target_boxes,
                    anchors=matched_anchors,
                    decode=lambda deltas: decode(deltas, matched_anchors.to(deltas.dtype)),
                    target_deltas=lambda: encode(target_boxes, matched_anchors),
                    image_size=lambda: image_sizes(self._image_sizes(), image),
                    stock_divisor=positives[image] * len(targets) if self.per_image else float(max(1, len(image))),
                    stock_loss=lambda: stock_loss,
                    head_output=regression,
                )
            )
        return losses

    def _image_sizes(self) -> list[tuple[int, int]]:
        _, (images, _) = self.require("transform")["transform"]
        sizes: list[tuple[int, int]] = images.image_sizes
        return sizes
