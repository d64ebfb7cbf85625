"""What a head does around its losses: half precision, extras, weights, divisors, empty batches."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from coordinates import EDGES, any_coordinate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from detloss import BoxRegressionLoss, InjectionError, build_loss, find_plugins
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
        decode=lambda given: CODER.decode_single(given, anchors),
        target_deltas=lambda: CODER.encode_single(targets + torch.tensor([0.0, 0.0, 1e-3, 1e-3]), anchors),
        image_size=lambda: torch.tensor([600, 600]).expand(len(targets), 2),
        stock_divisor=divisor,
        stock_loss=lambda: deltas.sum() * 0,
        head_output=deltas,
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("deltas", ["zero", "small", "large"])
def test_row_29_half_precision_at_600_px_gives_finite_losses_and_gradients(
    name: str, dtype: torch.dtype, deltas: str
) -> None:
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
def test_row_29_half_precision_gives_the_value_of_its_rounded_predictions(name: str, dtype: torch.dtype) -> None:
    """Nothing is lost but the rounding of the predictions themselves: the rest runs in float32."""
    rounded = (torch.randn(5, 4, generator=torch.Generator().manual_seed(1)) * 0.5).to(dtype)
    head = HeadLosses("roi_heads", [Term(name, 1.0)], [build_loss(name)]).eval()
    torch.testing.assert_close(head(matches(rounded)), head(matches(rounded.float())), rtol=0, atol=0)


PROTOTYPES = {name: build_loss(name) for name in LOSSES}


def boxes_with(coordinates: st.SearchStrategy[float]) -> st.SearchStrategy[Tensor]:
    """Five boxes: any order of corners, so inverted, empty, touching and identical ones are among them."""
    box = st.lists(coordinates, min_size=4, max_size=4)
    return st.lists(box, min_size=5, max_size=5).map(torch.tensor)


any_boxes = boxes_with(any_coordinate)
any_deltas = boxes_with(
    st.sampled_from([edge for edge in EDGES if abs(edge) <= 1e19]) | st.floats(-(2.0**63), 2.0**63, width=32)
)


def fed(pred: Tensor, target: Tensor) -> Matches:
    """Matches whose prediction is in the space of the loss as it stands: nothing is decoded or encoded."""
    return Matches(
        pred_deltas=pred,
        target_boxes=target,
        anchors=target,
        decode=lambda boxes: boxes,
        target_deltas=lambda: target,
        image_size=lambda: target.new_tensor([600, 800]).expand(len(target), 2),
        stock_divisor=8.0,
        stock_loss=lambda: pred.sum() * 0,
        head_output=pred,
    )


def assert_finite(spaces: set[str], pred: Tensor, target: Tensor) -> None:
    for name, prototype in PROTOTYPES.items():
        loss = copy.deepcopy(prototype)  # a running mean must not go from one example to the next
        if loss.space not in spaces:
            continue
        leaf = pred.clone().requires_grad_()
        value = HeadLosses("roi_heads", [Term(name, 1.0)], [loss])(fed(leaf, target))
        value.backward()
        assert value.isfinite(), f"{name}: {pred.tolist()} {target.tolist()}"
        assert leaf.grad.isfinite().all(), f"{name}: {pred.tolist()} {target.tolist()}"


@settings(max_examples=60)
@given(pred=any_boxes, target=any_boxes)
def test_row_29_any_boxes_give_finite_losses_and_gradients(pred: Tensor, target: Tensor) -> None:
    """Every loss on boxes has a finite value and gradient in a head, for any finite float32 coordinates."""
    assert_finite({"boxes"}, pred, target)


@settings(max_examples=40)
@given(pred=any_deltas, target=any_deltas)
def test_row_29_any_deltas_give_finite_losses_and_gradients(pred: Tensor, target: Tensor) -> None:
    """So has every loss on deltas up to 1e19 (a sum of distances of 1e38 is beyond float32)."""
    assert_finite({"deltas"}, pred, target)


@settings(max_examples=40)
@given(deltas=any_boxes)
def test_row_29_any_prediction_is_decoded_to_a_finite_loss(deltas: Tensor) -> None:
    """Whatever finite deltas a head predicts, torchvision's decoding and every loss on boxes give finite gradients."""
    for name, prototype in PROTOTYPES.items():
        loss = copy.deepcopy(prototype)
        if loss.space == "boxes":
            leaf = deltas.clone().requires_grad_()
            value = HeadLosses("roi_heads", [Term(name, 1.0)], [loss])(matches(leaf))
            value.backward()
            assert value.isfinite(), name
            assert leaf.grad.isfinite().all(), name


@pytest.mark.parametrize("name", LOSSES)
def test_row_29_meta_tensors(name: str) -> None:
    """On the meta device, where tensors have shapes and no numbers, a loss gives a scalar and a gradient's shape."""
    pred = torch.zeros(5, 4, device="meta", requires_grad=True)
    value = HeadLosses("roi_heads", [Term(name, 1.0)], [build_loss(name)]).to("meta")(fed(pred, TARGETS.to("meta")))
    value.backward()
    assert (value.shape, value.device.type, pred.grad.shape) == ((), "meta", (5, 4))


@pytest.mark.parametrize(("predictions", "targets", "anchors"), [(5, 1, 5), (1, 5, 5), (5, 4, 5), (5, 5, 1), (5, 0, 5)])
def test_row_29_mismatched_shapes_are_a_named_error(predictions: int, targets: int, anchors: int) -> None:
    """Predictions, targets and anchors that are not pairs are an error with all three shapes, and never broadcast."""
    wrong = dataclasses.replace(fed(torch.zeros(predictions, 4), TARGETS[:targets]), anchors=torch.zeros(anchors, 4))
    with pytest.raises(InjectionError, match=rf"^roi_heads: .*target_boxes \({targets}, 4\), anchors \({anchors}, 4\)"):
        HeadLosses("roi_heads", [Term("giou", 1.0)], [build_loss("giou")])(wrong)


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


def test_row_29_an_empty_batch_reaches_batch_dependent_losses_only() -> None:
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


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        # The weighted values sum to 4, which is divided by 8 and weighed with 3.
        ("stock", 1.5),
        # The weights sum to 4: 3 * 4 / 4.
        ("positives", 3.0),
    ],
)
def test_the_weights_of_pairs_count(normalizer: str, expected: float) -> None:
    """A head's own weights multiply the values, and `positives` divides by their sum."""
    head = HeadLosses("yolo", [Term("ones", 3.0, normalizer)], [Ones()])
    weighted = dataclasses.replace(matches(torch.zeros(5, 4)), weights=torch.tensor([0.5, 0.5, 1.0, 0.0, 2.0]))
    assert head(weighted).item() == pytest.approx(expected)


def test_few_weights_are_not_divided_by_less_than_one() -> None:
    """Where the weights sum to less than 1, `positives` divides by 1, as the heads themselves do."""
    head = HeadLosses("yolo", [Term("ones", 1.0, "positives")], [Ones()])
    weighted = dataclasses.replace(matches(torch.zeros(5, 4)), weights=torch.full((5,), 0.1))
    assert head(weighted).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        # Three pairs of weight 2 divided by 2, and two divided by 4, times 3.
        ("stock", [9.0, 3.0]),
        # Each entry by its own pairs: 3 and 2.
        ("positives", [3.0, 3.0]),
    ],
)
def test_entries_have_a_sum_each(normalizer: str, expected: list[float]) -> None:
    """Pairs of several entries give a loss for each, in one call of the loss."""
    counting = BatchMean()
    head = HeadLosses("rt_detr", [Term("ones", 3.0, normalizer), Term("mean", 0.0)], [Ones(), counting])
    divisor = torch.tensor([2.0, 2.0, 2.0, 4.0, 4.0]) / 2 if normalizer == "stock" else 8.0
    found = head(dataclasses.replace(matches(torch.zeros(5, 4), divisor=divisor), entries=[3, 2]))
    assert found.tolist() == pytest.approx(expected)
    assert counting.calls == 1


def test_without_pairs_each_entry_is_a_connected_zero() -> None:
    """Without pairs every entry is a zero that is connected to the graph, and a batch-dependent loss is called."""
    counting = BatchMean()
    deltas = torch.zeros(0, 4, requires_grad=True)
    head = HeadLosses("rt_detr", [Term("mean", 1.0)], [counting])
    found = head(dataclasses.replace(matches(deltas, TARGETS[:0]), entries=[0, 0, 0]))
    assert (found.tolist(), counting.calls) == ([0.0, 0.0, 0.0], 1)
    found.sum().backward()
    assert deltas.grad.shape == (0, 4)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": torch.ones(4)}, r"weights \(4,\), expected \(5, 4\) each and weights \(5,\)"),
        ({"entries": [3, 1]}, r"entries do not hold all pairs \(found \[3, 1\], expected a sum of 5\)"),
    ],
)
def test_wrong_weights_and_entries_are_named(changed: dict[str, object], said: str) -> None:
    """Weights or entries that do not fit the pairs are an error."""
    with pytest.raises(InjectionError, match=said):
        HeadLosses("yolo", [Term("ones", 1.0)], [Ones()])(dataclasses.replace(matches(torch.zeros(5, 4)), **changed))


def test_an_extra_that_was_promised_and_is_missing_is_named() -> None:
    """Matches without the image sizes that their adapter promised are an error that names them."""
    without = dataclasses.replace(matches(torch.zeros(5, 4)), image_size=None)
    with pytest.raises(InjectionError, match="rt_detr: the head's adapter says that it supplies image_size, but"):
        HeadLosses("rt_detr", [Term("mpdiou", 1.0)], [build_loss("mpdiou")])(without)
