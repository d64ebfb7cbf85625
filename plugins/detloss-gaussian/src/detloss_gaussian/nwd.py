"""Normalised Wasserstein distance loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from detloss.boxes import bounded, inverted
from detloss.loss import BoxRegressionLoss, Invariance, LossConfig

__all__ = ["NWDLoss"]


class NWDLoss(BoxRegressionLoss):
    """Normalised Wasserstein distance: ``1 - exp(-W / C)`` (Wang et al., 2021, arXiv 2110.13389).

    Formula::

        L  = 1 - exp(-sqrt(W²) / C)
        W² = dx² + dy² + ((w - w_gt)² + (h - h_gt)²) / 4

    ``W`` is the Wasserstein distance in pixels between the Gaussians of the two boxes, each with the box's centre and
    covariance ``diag(w², h²) / 4``; ``dx, dy`` is the offset of the centres. Nothing is detached. There is no eps: at
    identical boxes the value is 0 and so is the gradient. An inverted prediction gets 1, the supremum, on top.

    ``C`` sets the size of error, in pixels, that the loss looks at: the gradient fades as ``exp(-W / C)``, so that with
    12.8 an error of 1000 px has none in float32. Set it to the mean object size of the data.

    Range: [0, 1].

    Recommended weights: published: 10 in the RPN and 2 in dense heads (the authors' configs); in the R-CNN box head
    none: 10 is detloss's own starting point, the scale of GIoU.
    """

    class Config(LossConfig):
        """Parameters of NWD."""

        constant: float = Field(12.8, gt=0)
        """C in pixels: the mean object size of the data; the default is that of AI-TOD, as in the paper."""

    config: Config

    recommended_weights: ClassVar[Mapping[str, float]] = {
        "roi_heads": 10.0,
        "rpn": 10.0,
        "retinanet": 2.0,
        "fcos": 2.0,
        "ssd": 2.0,
    }
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    minimum: ClassVar[float | None] = 0.0
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"translation", "symmetry"})

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses of ``(N, 4)`` boxes."""
        # In each axis dx² + ((w - w_gt) / 2)² = ((x1 - x1_gt)² + (x2 - x2_gt)²) / 2.
        distance = torch.linalg.vector_norm(bounded(pred) - bounded(target), dim=-1) / math.sqrt(2)
        return -torch.expm1(-distance / self.config.constant) + inverted(pred)
