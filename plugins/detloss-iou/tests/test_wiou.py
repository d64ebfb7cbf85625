from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import torch

from detloss_iou.wiou import PAPER_MOMENTUM, WIoULoss

TARGET = torch.tensor([[0.0, 0, 10, 10]])
HALF = torch.tensor([[0.0, 0, 10, 5]])  # IoU 0.5, centres 2.5 px apart in a box of 10 x 10 px
ATTENTION = math.exp(2.5**2 / 200)


def test_version_1():
    """Version 1 is 1 - IoU times the attention of the distance."""
    torch.testing.assert_close(WIoULoss(version=1)(HALF, TARGET), torch.tensor([0.5 * ATTENTION]))


def test_version_2():
    """Version 2 multiplies by beta ** gamma."""
    # The mean goes from 1 to 1 + 0.5 (0.5 - 1) = 0.75 before it is used: beta = 0.5/0.75
    loss = WIoULoss(version=2, momentum=0.5)
    torch.testing.assert_close(loss(HALF, TARGET), torch.tensor([math.sqrt(2 / 3) * 0.5 * ATTENTION]))
    assert loss.iou_mean == 0.75


def test_version_3():
    """Version 3 multiplies by r = beta / (delta alpha ** (beta - delta))."""
    loss = WIoULoss(momentum=0.5)
    beta = 0.5 / 0.75
    r = beta / (3 * 1.9 ** (beta - 3))
    torch.testing.assert_close(loss(HALF, TARGET), torch.tensor([r * 0.5 * ATTENTION]))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_formula_with_everything_detached(version, check_against, geometry):
    """Value and gradient are the formula's, with c², beta and r as constants in the gradient."""
    mean = 0.6

    def constants(p, g):
        n = geometry(p, g)
        beta = (1 - n.iou) / mean
        return {1: 1.0, 2: beta**0.5, 3: beta / (3 * 1.9 ** (beta - 3))}[version], n.c2

    def formula(p, g, constants):
        n = geometry(p, g)
        r, c2 = constants
        return r * (1 - n.iou) * math.exp(n.rho2 / c2)

    loss = WIoULoss(version=version).eval()
    if version > 1:
        loss.double().iou_mean.fill_(mean)
    check_against(loss, formula, frozen=constants)


def test_mean_stays_in_evaluation():
    """The mean moves while training only."""
    loss = WIoULoss(momentum=0.5).eval()
    loss(HALF, TARGET)
    assert loss.iou_mean == 1
    loss.train()(HALF, TARGET)
    assert loss.iou_mean == 0.75


def test_empty_batch_leaves_the_mean():
    """A batch without boxes leaves the mean as it is."""
    loss = WIoULoss(momentum=0.5)
    assert loss(HALF[:0], TARGET[:0]).shape == (0,)
    assert loss.iou_mean == 1


def test_a_nan_prediction_leaves_the_mean_to_the_others():
    """A pair that is NaN costs NaN and is left out of the mean; a batch of nothing else changes nothing."""
    loss = WIoULoss(momentum=0.5)
    pred = torch.cat([HALF, torch.full((1, 4), math.nan)])
    values = loss(pred, TARGET.expand(2, 4))
    assert values.isnan().tolist() == [False, True]
    assert loss.iou_mean == 0.75  # 1 + 0.5 (0.5 - 1), of the first pair
    loss(pred[1:], TARGET)
    assert loss.iou_mean == 0.75


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_of_a_model_in_half_precision_moves(dtype):
    """A model that is cast to half precision keeps the mean in float32, where small steps are not rounded away."""
    loss = torch.nn.Sequential(WIoULoss()).to(dtype)[0]
    for _ in range(100):
        loss(HALF.to(dtype), TARGET.to(dtype))
    # 100 steps of the paper's momentum, towards 1 - IoU = 0.5; in bfloat16, 1 - 5e-5 is 1.
    assert loss.iou_mean.dtype == torch.float32
    assert loss.iou_mean.item() == pytest.approx(0.5 + 0.5 * (1 - PAPER_MOMENTUM) ** 100, rel=1e-5)


def test_mean_is_state_of_one_instance():
    """Each loss has its own mean; it is saved, loaded and copied, and version 1 has none."""
    first, second = WIoULoss(momentum=0.5), WIoULoss(momentum=0.5)
    first(HALF, TARGET)
    assert second.iou_mean == 1
    copied = copy.deepcopy(first)
    second.load_state_dict(first.state_dict())
    first(HALF, TARGET)
    assert (first.iou_mean, second.iou_mean, copied.iou_mean) == (0.625, 0.75, 0.75)
    assert not WIoULoss(version=1).state_dict()


def test_momentum_of_the_paper():
    """With the default momentum 5 % of the first value are left after 34 epochs of 890 batches."""
    assert pytest.approx(0.05) == (1 - PAPER_MOMENTUM) ** (34 * 890)


def test_compiled_training_moves_the_mean():
    """The compiled loss updates the mean as the eager one does."""
    eager, compiled = WIoULoss(momentum=0.5), WIoULoss(momentum=0.5)
    compiled.compile(fullgraph=True, dynamic=True, backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(HALF, TARGET), eager(HALF, TARGET))
    assert compiled.iou_mean == eager.iou_mean == 0.625


RANK = """
import sys, torch, torch.distributed as dist
from detloss_iou.wiou import WIoULoss
rank, store, shares = int(sys.argv[1]), sys.argv[2], [(1, 3), (0, 2), (0, 0)]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
loss, means = WIoULoss(momentum=0.5), []
for share in shares:
    n = share[rank]
    pred = torch.tensor([[0.0, 0, 10, 5], [0.0, 0, 10, 10]][rank]).expand(n, 4)  # 1 - IoU is 0.5 on rank 0, 0 on rank 1
    loss(pred, torch.tensor([0.0, 0, 10, 10]).expand(n, 4))
    means.append(loss.iou_mean.item())
print(means)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_share_the_mean(tmp_path):
    """Two ranks have one mean over all boxes, also where one of them, or both, have no box."""
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    outputs = [rank.communicate(timeout=120)[0].decode().strip() for rank in ranks]
    # 4 boxes: mean 0.5/4 = 0.125, 1 -> 0.5625; 2 perfect boxes on rank 1: 0.28125; none: unchanged
    assert outputs == ["[0.5625, 0.28125, 0.28125]"] * 2


def test_the_largest_power_stays_finite():
    """At the bounds of alpha and delta, alpha^delta fits into float32, and results are finite."""
    pred = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]], requires_grad=True)
    values = WIoULoss(alpha=10.0, delta=10.0)(pred, TARGET.expand(3, 4))
    (gradient,) = torch.autograd.grad(values.sum(), pred)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
