"""What every installed loss does with boxes that a formula does not think of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_cases import both_dtypes, boxes_case, evaluate, every_case, random_pairs, value_and_gradient

from detloss import build_loss
from detloss.loss import BoxRegressionLoss

DEGENERATE = {
    "identical": ([10, 20, 110, 70], [10, 20, 110, 70]),
    "nested, one centre": ([20, 20, 40, 40], [10, 10, 50, 50]),
    "touching sides": ([0, 0, 10, 10], [10, 0, 20, 10]),
    "touching corners": ([0, 0, 10, 10], [10, 10, 20, 20]),
    "pred a point": ([15, 15, 15, 15], [10, 10, 20, 20]),
    "pred without width": ([15, 10, 15, 20], [10, 10, 20, 20]),
    "pred without height": ([10, 15, 20, 15], [10, 10, 20, 20]),
    "target a point": ([10, 10, 20, 20], [15, 15, 15, 15]),
    "target without height": ([10, 10, 20, 20], [10, 15, 20, 15]),
    "both the same point": ([15, 15, 15, 15], [15, 15, 15, 15]),
    "two points": ([0, 0, 0, 0], [15, 15, 15, 15]),
    "both at 0": ([0, 0, 0, 0], [0, 0, 0, 0]),
    "pred inverted": ([20, 20, 10, 10], [10, 10, 20, 20]),
    "pred inverted in x": ([20, 10, 10, 20], [10, 10, 20, 20]),
    "target inverted": ([10, 10, 20, 20], [20, 20, 10, 10]),
    "both inverted": ([20, 20, 10, 10], [20, 20, 10, 10]),
    "tiny": ([0, 0, 1e-6, 1e-6], [0, 0, 2e-6, 1e-6]),
    "tiny and far": ([1e5, 0, 1e5, 1e-6], [0, 0, 1e-6, 1e-6]),
    "far apart": ([0, 0, 10, 10], [1e6, 1e6, 1e6 + 10, 1e6 + 10]),
    "pred enormous": ([-1e19, -1e19, 1e19, 1e19], [10, 10, 20, 20]),
    "pred at 1e19": ([1e19, 1e19, 1e19, 1e19], [10, 10, 20, 20]),
    "target at 1e19": ([10, 10, 20, 20], [-1e19, -1e19, 1e19, 1e19]),
    "both enormous": ([-1e19, -1e19, 1e19, 1e19], [-1e19, -1e19, 1e19, 1e19]),
    "pred inverted at 1e19": ([1e19, 1e19, -1e19, -1e19], [10, 10, 20, 20]),
}


@both_dtypes
@every_case
def test_degenerate_pairs(case: dict[str, Any], dtype: torch.dtype):
    """A degenerate pair has a finite value and a finite gradient, and changes no bit of the other rows."""
    loss = build_loss(case).eval()
    check_degenerate_pairs(loss, dtype)
    if "progress" in dict(loss.named_buffers()):
        loss.get_buffer("progress").fill_(1.0)
        check_degenerate_pairs(loss, dtype)


def check_degenerate_pairs(loss: BoxRegressionLoss, dtype: torch.dtype) -> None:
    pred, target = random_pairs(loss, 9, dtype=dtype)
    value, gradient = value_and_gradient(loss, pred, target)
    others = torch.arange(9) != 4
    for kind, (bad_pred, bad_target) in DEGENERATE.items():
        bad = pred.clone(), target.clone()
        bad[0][4], bad[1][4] = pred.new_tensor(bad_pred), pred.new_tensor(bad_target)
        bad_value, bad_gradient = value_and_gradient(loss, *bad)
        assert torch.isfinite(bad_value[4]), kind
        assert torch.isfinite(bad_gradient[4]).all(), kind
        assert torch.equal(bad_value[others], value[others]), kind
        assert torch.equal(bad_gradient[others], gradient[others]), kind


@boxes_case
def test_inverted_box_never_scores_better_than_a_disjoint_one(case: dict[str, Any]):
    """Wherever an inverted box lies, on the target too, no disjoint box of the image gets a larger value."""
    loss = build_loss(case).eval()
    target = torch.tensor([300.0, 300, 400, 400])
    inverted = [[400, 400, 300, 300], [400, 300, 300, 400], [300, 400, 400, 300], [351, 351, 349, 349]]
    disjoint = [[0, 0, 100, 100], [900, 700, 1000, 800], [401, 300, 501, 400], [0, 0, 1000, 299], [10, 10, 11, 11]]
    worst = evaluate(loss, torch.tensor(disjoint).float(), target.expand(5, 4)).max()
    best = evaluate(loss, torch.tensor(inverted).float(), target.expand(4, 4)).min()
    assert best >= worst


@both_dtypes
@every_case
def test_empty_batch(case: dict[str, Any], dtype: torch.dtype):
    """No pairs give no values, still connected to the prediction."""
    loss = build_loss(case)
    value, gradient = value_and_gradient(loss, torch.zeros(0, 4, dtype=dtype), torch.zeros(0, 4, dtype=dtype))
    assert (value.shape, gradient.shape, value.dtype) == ((0,), (0, 4), dtype)


@pytest.mark.filterwarnings("ignore:Using a target size")  # torch warns about the shapes before it fails on them
@every_case
def test_mismatched_shapes(case: dict[str, Any]):
    """Three predictions for two targets are an error."""
    loss = build_loss(case)
    pred, target = random_pairs(loss, 3)
    with pytest.raises((RuntimeError, ValueError)):
        evaluate(loss, pred, target[:2])
