"""A square root for distances."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["root"]


def root(x: Tensor) -> Tensor:
    """Return ``sqrt(x)`` of values ``x >= 0``, with gradient 0 (rather than infinity) at 0.

    A distance whose square is smooth has bounded slopes around 0 and no slope at it; an eps under the root would give
    identical boxes a loss.
    """
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)
