"""Every installed loss under what torch does to a function: vmap, meta tensors, compilers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_cases import evaluate, every_case, random_pairs, value_and_gradient
from torch import Tensor

from detloss import build_loss


@every_case
def test_vmap(case: dict[str, Any]):
    """Under vmap, values and gradients are those of the batches one by one."""
    loss = build_loss(case).eval()
    pred, target = (boxes.reshape(3, 5, 4) for boxes in random_pairs(loss, 15))

    def total(p: Tensor, t: Tensor) -> Tensor:
        return evaluate(loss, p, t).sum()

    for function in (total, torch.func.grad(total)):
        one_by_one = torch.stack([function(p, t) for p, t in zip(pred, target, strict=True)])
        torch.testing.assert_close(torch.vmap(function)(pred, target), one_by_one, rtol=1e-9, atol=1e-12)


@every_case
def test_meta_tensors(case: dict[str, Any]):
    """On meta tensors the loss gives the shape of its value: it looks at no value to decide what to do."""
    loss = build_loss(case).to("meta")
    value = evaluate(loss, torch.empty(7, 4, device="meta"), torch.empty(7, 4, device="meta"))
    assert (value.shape, value.device.type) == ((7,), "meta")


def check_compiled(case: dict[str, Any], backend: str) -> None:
    torch._dynamo.reset()
    loss = build_loss(case).eval()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    for n in (7, 12):
        pred, target = random_pairs(loss, n, seed=n, dtype=torch.float32)
        for got, expected in zip(
            value_and_gradient(compiled, pred, target), value_and_gradient(loss, pred, target), strict=True
        ):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@every_case
def test_one_graph(case: dict[str, Any]):
    """The loss is one graph with dynamic shapes; traced forward and backward, it gives the same values and gradients.

    `aot_eager` traces all that a compiler would get and runs it as it is, in a tenth of inductor's time.
    """
    check_compiled(case, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["giou", "ciou", "wiou", "smooth_l1", "balanced_l1", "kld", "sca"])
def test_inductor(name: str):
    """Compiled by inductor, the most used losses and those with the rarest operations give the same results."""
    check_compiled({"name": name}, "inductor")
