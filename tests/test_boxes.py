from __future__ import annotations

import pytest
import torch
from coordinates import any_coordinate
from hypothesis import given
from hypothesis import strategies as st

from detloss import boxes
from detloss.boxes import (
    BoxPair,
    area,
    bounded,
    center,
    inverted,
    iou,
    length,
    pair_boxes,
    scaled,
    size,
    squared_length,
)

SQUARE = torch.tensor([[0.0, 0, 10, 10]])
MOVED = torch.tensor([[5.0, 2, 15, 12]])
APART = torch.tensor([[13.0, 0, 20, 10]])
INVERTED = torch.tensor([[10.0, 10, 0, 0]])


def test_iou_of_overlapping_boxes():
    """IoU is the intersection over the union."""
    # 5 * 8 = 40 over 100 + 100 - 40 = 160
    torch.testing.assert_close(iou(MOVED, SQUARE), torch.tensor([0.25]))


@pytest.mark.parametrize("pred", [APART, INVERTED, torch.tensor([[10.0, 0, 20, 10]]), torch.tensor([[5.0, 0, 5, 10]])])
def test_iou_is_exactly_0_without_overlap(pred):
    """Disjoint, inverted, touching and empty boxes have IoU 0, not nearly 0."""
    assert iou(pred, SQUARE).item() == 0


def test_iou_of_two_empty_boxes():
    """Two empty boxes in one place have IoU 0 and a finite gradient."""
    point = torch.tensor([[5.0, 5, 5, 5]], requires_grad=True)
    value = iou(point, point.detach())
    (gradient,) = torch.autograd.grad(value.sum(), point)
    assert value.item() == 0
    assert gradient.isfinite().all()


def test_gradient_is_0_at_the_target():
    """On the target itself both sides of a tie count half, so the IoU has no gradient there."""
    pred = SQUARE.double().requires_grad_()
    (gradient,) = torch.autograd.grad(iou(pred, SQUARE.double()).sum(), pred)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_small_box_inside_a_large_one():
    """The overlap of a small box keeps its digits inside a large one, in float32."""
    small, large = torch.tensor([[500.1, 500.1, 500.2, 500.2]]), torch.tensor([[0.0, 0, 4000, 4000]])
    pair = pair_boxes(small, large)
    assert pair.overlap.equal(pair.size)


def test_pair():
    """A pair knows its sizes, overlap, areas, enclosing box and offset of the centres."""
    pair = pair_boxes(APART, SQUARE)
    assert pair.corners.tolist() == [[[13], [20]], [[0], [10]]]
    assert pair.difference.tolist() == [[[13], [10]], [[0], [0]]]
    assert pair.size.tolist() == [[7], [10]]
    assert pair.target_size.tolist() == [[10], [10]]
    assert pair.overlap.tolist() == [[-3], [10]]  # a gap of 3 px in x
    assert pair.intersection.tolist() == [0]
    assert pair.union.tolist() == [170]
    assert pair.enclosing.tolist() == [[20], [10]]
    assert pair.offset.tolist() == [[11.5], [0]]  # 16.5 - 5, 5 - 5
    assert pair.inverted.tolist() == [False]


def test_penalties():
    """The distance, side and aspect terms have the values of their formulas."""
    pair = pair_boxes(torch.tensor([[0.0, 0, 20, 10]]), SQUARE)
    # rho² = 5², c² = 20² + 10²; (20 - 10)²/20² + 0; 4/pi² (pi/4 - atan 2)², and atan 2 = 1.1071487
    torch.testing.assert_close(pair.center_distance(1e-7), torch.tensor([0.05]))
    torch.testing.assert_close(pair.side_difference(1e-7), torch.tensor([0.25]))
    torch.testing.assert_close(pair.aspect_difference(1e-7), torch.tensor([0.0419569]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pred", [SQUARE, MOVED, APART, torch.tensor([[2.0, 3, 4, 40]])])
def test_enclosing_size_is_that_of_the_corners(pred):
    """Sides and signed overlap give the same enclosing box as the outermost corners."""
    lt = torch.minimum(pred[:, :2], SQUARE[:, :2])
    rb = torch.maximum(pred[:, 2:], SQUARE[:, 2:])
    pair = pair_boxes(pred, SQUARE)
    torch.testing.assert_close(pair.enclosing.T, rb - lt)


def test_single_boxes():
    """Size, centre, area and squared length are those of each box; an inverted side counts as 0."""
    both = torch.cat([APART, INVERTED])
    assert size(both).tolist() == [[7, 0], [10, 0]]  # x, then y
    assert center(both).tolist() == [[16.5, 5], [5, 5]]
    assert area(size(both)).tolist() == [70, 0]
    assert squared_length(torch.tensor([[3.0], [4.0]])).tolist() == [25]
    assert length(torch.tensor([[3.0], [4.0]])).tolist() == [5]


def test_inverted():
    """A box is inverted if one side is; an empty one is not."""
    wide, tall, empty = [10.0, 0, 0, 5], [0.0, 5, 10, 0], [5.0, 5, 5, 5]
    assert inverted(torch.tensor([wide, tall, empty])).tolist() == [True, True, False]


def test_scaled():
    """A box is scaled about its own centre."""
    assert scaled(APART, 2.0).tolist() == [[9.5, -5, 23.5, 15]]  # centre (16.5, 5), half sides 3.5 and 5, doubled
    assert scaled(APART, torch.tensor(1.0)).equal(APART)


def test_bounded():
    """Coordinates far beyond any image are limited, so that their squares fit float32; others stay."""
    assert bounded(torch.tensor([[-1e19, 0, 1e19, 5]])).tolist() == [[-1e9, 0, 1e9, 5]]
    huge = pair_boxes(torch.tensor([[-1e19, -1e19, 1e19, 1e19]]), SQUARE)
    assert squared_length(huge.enclosing).square().isfinite().all()


def test_leading_dimensions():
    """One box, a batch, and a batch of batches give the same values."""
    expected = iou(MOVED, SQUARE)
    assert iou(MOVED[0], SQUARE[0]).equal(expected[0])
    assert iou(MOVED.expand(2, 3, 4), SQUARE.expand(2, 3, 4)).equal(expected.expand(2, 3))
    assert iou(MOVED[:0], SQUARE[:0]).shape == (0,)


any_box = st.lists(any_coordinate, min_size=4, max_size=4).map(lambda numbers: torch.tensor([numbers]))


@given(pred=any_box, target=any_box)
def test_row_29_any_boxes_have_finite_geometry(pred, target):
    """Everything that a pair knows is finite, with a finite gradient, for any finite float32 coordinates."""
    pred.requires_grad_()
    pair = pair_boxes(pred, target)
    terms = {name: getattr(pair, name) for name in BoxPair._fields} | {
        "iou": pair.iou(1e-7),
        "enclosing": area(pair.enclosing),
        "offset": pair.offset,
        "distance": length(pair.offset),
        "center_distance": pair.center_distance(1e-7),
        "side_difference": pair.side_difference(1e-7),
        "aspect_difference": pair.aspect_difference(1e-7),
    }
    for name, term in terms.items():
        assert term.isfinite().all(), name
        if term.requires_grad:
            (gradient,) = torch.autograd.grad(term.sum(), pred, retain_graph=True)
            assert gradient.isfinite().all(), name
    assert 0 <= pair.iou(1e-7).item() <= 1
    # Rounding may lift the quotients over their bounds by a few units of the last place.
    assert 0 <= pair.center_distance(1e-7).item() <= 1 + 1e-6
    assert 0 <= pair.side_difference(1e-7).item() <= 2 + 1e-6
    assert 0 <= pair.aspect_difference(1e-7).item() <= 1 + 1e-6


@given(pred=any_box, target=any_box)
def test_row_29_an_inverted_box_has_no_area(pred, target):
    """A box with a negative side has IoU 0 with every box: two negative sides never make a positive area."""
    if inverted(bounded(pred)).item() or inverted(bounded(target)).item():
        assert iou(pred, target).item() == 0
    assert area(size(bounded(pred))).item() >= 0


def test_row_29_vmap():
    """Under vmap a pair at a time gives bit for bit the values and gradients of the whole batch."""
    pred, target = torch.cat([MOVED, APART, INVERTED, SQUARE]), SQUARE.expand(4, 4)
    torch.testing.assert_close(torch.vmap(iou)(pred, target), iou(pred, target), rtol=0, atol=0)
    slope = torch.func.grad(iou)
    leaf = pred.clone().requires_grad_()
    (expected,) = torch.autograd.grad(iou(leaf, target).sum(), leaf)
    torch.testing.assert_close(torch.vmap(slope)(pred, target), expected, rtol=0, atol=0)


def test_row_29_meta_tensors():
    """On the meta device every term of a pair has its shape."""
    pair = pair_boxes(MOVED.to("meta"), SQUARE.to("meta"))
    shapes = {name: tuple(term.shape) for name, term in pair._asdict().items()}
    corners, sides, areas = (2, 2, 1), (2, 1), (1,)
    assert list(shapes.values()) == [corners, corners, sides, sides, sides, areas, areas]
    assert pair.center_distance(1e-7).device.type == "meta"


def test_row_29_mismatched_shapes():
    """Three boxes cannot be compared with two."""
    with pytest.raises(RuntimeError, match="size"):
        iou(MOVED.expand(3, 4), SQUARE.expand(2, 4))


def test_everything_public_is_described():
    """Every public name of the module is documented."""
    assert all(getattr(boxes, name).__doc__ for name in boxes.__all__)
