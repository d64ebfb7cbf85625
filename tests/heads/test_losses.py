"""What a head does around its losses: half precision, extras, weights, divisors, empty batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from detloss import BoxRegressionLoss, build_loss, find_plugins
from detloss.heads.losses import HeadLosses, Matches, Term

CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
# At 600 px an area of 360 000 is beyond float16's 65 504, and bfloat16 knows every fourth coordinate only.
ANCHORS = torch.tensor(
    [
        [0.0, 0.0, 600.0, 600.0],
        [300.0, 300.0, 600.0, 600.0],
        [10.0, 20.0, 310.0, 600.0],
        [590.0, 590.0, 600.0, 600.0],
        [0.0, 0.0, 600.0, 1.0],
    ]
)
TARGETS = torch.tensor(
    [
        [0.0, 0.0, 600.0, 600.0],  # identical at zero deltas
        [0.0, 0.0, 300.0, 300.0],  # touching at a corner
        [20.0, 10.0, 290.0, 580.0],
        [0.0, 0.0, 5.0, 5.0],  # far away
        [0.0, 300.0, 600.0, 300.0],  # without area
    ]
)
LOSSES = [plugin.name for plugin in find_plugins() if plugin.package.startswith("detloss-")]


def matches(deltas: Tensor, targets: Tensor = TARGETS, divisor: float | Tensor = 8.0) -> Matches:
    anchors = ANCHORS[: len(targets)]
    return Matches(
        pred_deltas=deltas,
        target_boxes=targets,
        anchors=anchors,
        decode=CODER.decode_single,
        target_deltas=lambda: CODER.encode_single(targets + torch.tensor([0.0, 0.0, 1e-3, 1e-3]), anchors),
        image_size=lambda: torch.tensor([600, 600]).expand(len(targets), 2),
        stock_divisor=divisor,
        stock_loss=deltas.sum() * 0,
        head_output=deltas,
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("deltas", ["zero", "small", "large"])
def test_half_precision_at_600_px_gives_finite_losses_and_gradients(name: str, dtype: torch.dtype, deltas: str) -> None:
    """With predictions in half precision the loss is finite float32, and so is its gradient in half precision."""
    generator = torch.Generator().manual_seed(0)
    scale = {"zero": 0.0, "small": 0.5, "large": 20.0}[deltas]
    pred = (torch.randn(len(TARGETS), 4, generator=generator) * scale).to(dtype).requires_grad_()
    head = HeadLosses("roi_heads", [Term(name, 10.0)], [build_loss(name)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head(matches(pred))
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    loss.backward()
    assert pred.grad.dtype == dtype
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_value_of_its_rounded_predictions(name: str, dtype: torch.dtype) -> None:
    """Nothing is lost but the rounding of the predictions themselves: the rest runs in float32."""
    rounded = (torch.randn(5, 4, generator=torch.Generator().manual_seed(1)) * 0.5).to(dtype)
    head = HeadLosses("roi_heads", [Term(name, 1.0)], [build_loss(name)]).eval()
    torch.testing.assert_close(head(matches(rounded)), head(matches(rounded.float())), rtol=0, atol=0)


class Ones(BoxRegressionLoss):
    """1 for every pair."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return torch.ones_like(pred[:, 0]) + 0 * pred.sum(-1)


@pytest.mark.parametrize(
    ("normalizer", "divisor", "expected"),
    [
        ("stock", 8.0, 3 * 5 / 8),
        ("positives", 8.0, 3.0),
        # Three pairs divided by 2 and two by 4: 3/2 + 2/4.
        ("stock", torch.tensor([2.0, 2.0, 2.0, 4.0, 4.0]), 3 * 2.0),
    ],
)
def test_the_sum_is_divided_and_weighed(normalizer: str, divisor: float | Tensor, expected: float) -> None:
    """Five pairs of value 1 with weight 3 give 15 over the divisor of the head, of each pair, or of the positives."""
    head = HeadLosses("roi_heads", [Term("ones", 3.0, normalizer)], [Ones()])
    assert head(matches(torch.zeros(5, 4), divisor=divisor)).item() == pytest.approx(expected)


class BatchMean(BoxRegressionLoss):
    """A batch-dependent loss that counts its calls."""

    batch_dependent = True
    calls = 0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return (pred - target).abs().sum(-1)


def test_an_empty_batch_reaches_batch_dependent_losses_only() -> None:
    """Without pairs a batch-dependent loss is called, because other ranks may wait in it, and the result is still 0."""
    counting, ordinary = BatchMean(), build_loss("giou")
    deltas = torch.zeros(0, 4, requires_grad=True)
    head = HeadLosses("roi_heads", [Term("mean", 1.0), Term("giou", 1.0)], [counting, ordinary])
    loss = head(matches(deltas, TARGETS[:0]))
    assert (loss.item(), counting.calls) == (0.0, 1)
    loss.backward()
    assert deltas.grad.shape == (0, 4)


def test_the_target_gets_no_gradient() -> None:
    """Ground truth that requires a gradient by accident gets none."""
    targets = TARGETS.clone().requires_grad_()
    deltas = torch.zeros(5, 4, requires_grad=True)
    HeadLosses("roi_heads", [Term("giou", 1.0)], [build_loss("giou")])(matches(deltas, targets)).backward()
    assert targets.grad is None
    assert deltas.grad.abs().max() > 0
