"""Every installed loss, with the parameters that matter, and what a head would call it with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from detloss import find_plugins
from detloss.loss import BoxRegressionLoss

# Where the defaults are not the whole loss: other modes, and bases that have fewer invariances than the default one.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "smooth_l1": [{"beta": 0.0}],
    "balanced_l1": [{"beta": 0.11}],
    "iou": [{"mode": "square"}, {"mode": "log"}],
    "ciou": [{"gated": True}],
    "alpha_iou": [{"base": "giou"}, {"base": "diou"}, {"base": "ciou"}, {"alpha": 0.5}],
    "wiou": [{"version": 1}, {"version": 2}],
    "shape_iou": [{"scale": 1.5}],
    "piou": [{"version": 1}, {"detach_q": True}],
    "interpiou": [{"dynamic": [0.6, 0.99]}],
    "inner": [{"base": "ciou"}, {"base": "mpdiou"}, {"base": {"name": "piou", "version": 1}, "ratio": 1.3}],
    "focaler": [{"base": "ciou"}, {"base": "mpdiou"}, {"base": {"name": "piou", "version": 1}, "d": 0.2, "u": 0.7}],
    "unified": [{"base": "gwd"}, {"base": "kld"}, {"base": "giou", "focal": "focal"}, {"focal": "focal_inv"}],
    "gwd": [{"fun": "log1p"}, {"fun": "none", "tau": 1.0}, {"normalize": True}],
    "kld": [{"direction": "pred_target"}, {"fun": "sqrt", "sqrt": False}, {"fun": "none", "sqrt": False, "tau": 2.0}],
    "probiou": [{"mode": "l2"}],
}
NAMES = [plugin.name for plugin in find_plugins()]
CASES = [{"name": name, **params} for name in NAMES for params in [{}, *VARIANTS.get(name, [])]]

IMAGE_SIZE = (800.0, 1000.0)


def case_id(case: dict[str, Any]) -> str:
    return " ".join(str(value) if key == "name" else f"{key}={value}" for key, value in case.items())


every_case = pytest.mark.parametrize("case", CASES, ids=case_id)
every_loss = pytest.mark.parametrize("name", NAMES)


def extras(loss: BoxRegressionLoss, target: Tensor) -> dict[str, Tensor]:
    """What a head would supply."""
    given = {"image_size": target.new_tensor(IMAGE_SIZE).expand(*target.shape[:-1], 2), "anchors": target}
    return {name: given[name] for name in loss.extras}


def evaluate(loss: BoxRegressionLoss, pred: Tensor, target: Tensor) -> Tensor:
    return loss(pred, target, **extras(loss, target))


def value_and_gradient(loss: BoxRegressionLoss, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    pred = pred.detach().clone().requires_grad_()
    value = evaluate(loss, pred, target)
    return value.detach(), torch.autograd.grad(value.sum(), pred)[0]


def random_pairs(loss: BoxRegressionLoss, n: int, seed: int = 0, dtype: Any = torch.float64) -> tuple[Tensor, Tensor]:
    """Pairs in the loss's space; of boxes, some overlap and some do not."""
    generator = torch.Generator().manual_seed(seed)
    if loss.space == "deltas":
        pred, target = torch.randn(2, n, 4, generator=generator, dtype=dtype)
        return pred, target
    corner, size = torch.rand(2, 2, n, 2, generator=generator, dtype=dtype)
    pred, target = torch.cat([100 * corner, 100 * corner + 150 * size + 4], dim=-1)
    return pred, target
