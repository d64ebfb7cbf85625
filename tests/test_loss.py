"""The base class of all losses: what it does for each of them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from detloss.loss import GIOU_SCALE, SMOOTH_L1_SCALE, BoxRegressionLoss

HALF = (torch.float16, torch.bfloat16)

every_half = pytest.mark.parametrize("dtype", HALF, ids=str)


class Distances(BoxRegressionLoss):
    """Squared distance of the coordinates, over the size of the image where that is given, plus a running count."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None) -> Tensor:
        self.seen += len(pred)
        squared = (pred - target).square().sum(-1)
        return squared if image_size is None else squared / image_size.sum(-1)


class Doubled(Distances):
    """Twice the distance, by the forward of its base class."""

    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor | None = None) -> Tensor:
        return 2 * super().forward(pred, target, image_size=image_size)


PRED, TARGET = torch.tensor([[0.0, 0, 600, 600]]), torch.tensor([[0.0, 0, 0, 0]])


@every_half
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """Boxes in half precision give float32 values, and the gradient comes back in their dtype."""
    pred = PRED.to(dtype).requires_grad_()
    value = Doubled()(pred, TARGET.to(dtype), image_size=torch.tensor([[300, 300]], dtype=dtype))
    assert value.dtype == torch.float32
    assert value.item() == 2 * (600**2 + 600**2) / 600  # 720 000, where float16 ends at 65 504
    (gradient,) = torch.autograd.grad(value.sum(), pred)
    assert gradient.dtype == dtype
    assert gradient.tolist() == [[0, 0, 4, 4]]  # 2 * 2 * 600 / 600


def test_float64_stays() -> None:
    """Boxes in float64 give float64 values."""
    assert Distances()(PRED.double(), TARGET.double()).dtype == torch.float64


def test_target_and_extras_are_constants() -> None:
    """A target and an extra that require a gradient get none."""
    pred, target, size = (
        PRED.clone().requires_grad_(),
        TARGET.clone().requires_grad_(),
        torch.ones(1, 2).requires_grad_(),
    )
    Doubled()(pred, target, image_size=size).sum().backward()
    assert pred.grad is not None
    assert target.grad is None
    assert size.grad is None


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "float"])
def test_a_buffer_keeps_its_dtype(cast: str) -> None:
    """Casting a model casts no buffer of a loss in it, and rounds none of its numbers."""
    loss = Distances()
    loss.seen.fill_(1 / 3)
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(loss))
    getattr(model, cast)()
    assert loss.seen.dtype == torch.float32
    assert loss.seen == torch.tensor(1 / 3)
    assert loss.steps.dtype == torch.int64
    model.to("meta", torch.float16)
    assert (loss.seen.dtype, loss.seen.device.type) == (torch.float32, "meta")


def test_copies_and_hooks_work_as_with_any_module() -> None:
    """A deep copy and an unpickled loss give the same values, and hooks see float32 boxes and the values."""
    loss, seen = Distances(), []
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin(PRED, TARGET).tolist() == [720_000]
    loss.register_forward_hook(lambda module, boxes, values: seen.append((boxes[0].dtype, values.item())))
    loss(PRED.half(), TARGET.half())
    assert seen == [(torch.float32, 720_000)]


@pytest.mark.slow
def test_half_precision_is_one_graph() -> None:
    """Under torch.compile half precision is upcast as it is eagerly, in the one graph of the loss."""
    pred = PRED.half().requires_grad_()
    compiled = torch.compile(Doubled(), fullgraph=True, backend="eager")
    value = compiled(pred, TARGET.half().requires_grad_())
    (gradient,) = torch.autograd.grad(value.sum(), pred)
    assert value.tolist() == [1_440_000]
    assert gradient.dtype == torch.float16


def test_vmap_over_half_precision() -> None:
    """Under vmap half precision is upcast too."""
    values = torch.vmap(Distances())(PRED.half()[None], TARGET.half()[None])
    assert values.tolist() == [[720_000]]
    assert values.dtype == torch.float32


def test_scales_of_weights() -> None:
    """The weights for a loss of the scale of GIoU and of smooth L1 are for the same heads."""
    assert GIOU_SCALE.keys() == SMOOTH_L1_SCALE.keys() == {"roi_heads", "rpn", "retinanet", "fcos", "ssd"}
    assert set(SMOOTH_L1_SCALE.values()) == {1.0}
