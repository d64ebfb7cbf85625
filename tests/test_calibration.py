"""Calibration measures gradients at the head's output, and nothing of it changes the model."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from tiny_detectors import BOX_LOSS, HEADS, batch, detector
from torch import Tensor

from detloss import calibrate, inject
from detloss.calibration import Calibration, far_weights

STOCK = {
    "roi_heads": {"name": "smooth_l1", "beta": 1 / 9},
    "rpn": {"name": "smooth_l1", "beta": 1 / 9},
    "retinanet": {"name": "l1"},
    "fcos": {"name": "giou"},
    "ssd": {"name": "smooth_l1", "beta": 1.0},
}
BATCHES = [batch(seed, counts=(2, 1)) for seed in range(2)]


@pytest.mark.parametrize("head", HEADS)
def test_the_stock_loss_itself_has_ratio_one(head: str) -> None:
    """Against itself each head's stock loss has the same value and gradient, so the equalizing weight is 1."""
    torch.manual_seed(0)
    (measured,) = calibrate(inject(detector(head), {head: STOCK[head]}), BATCHES)
    assert measured.head == head
    assert measured.value == pytest.approx(measured.stock_value, rel=1e-5)
    assert measured.stock_gradient > 0
    assert measured.ratio == pytest.approx(1, rel=1e-5)
    assert measured.equalizing_weight == pytest.approx(1, rel=1e-5)
    assert measured.batches == 2


def test_the_gradient_is_that_of_the_unweighted_loss() -> None:
    """A loss of half the stock's gradient has ratio 1/2 and equalizing weight 2, whatever weight it runs with."""
    torch.manual_seed(0)
    # Huber with delta 1/9 is smooth L1 with beta 1/9, times 1/9.
    model = inject(detector("roi_heads"), {"roi_heads": {"name": "huber", "delta": 1 / 9, "weight": 40}})
    (measured,) = calibrate(model, BATCHES)
    assert measured.ratio == pytest.approx(1 / 9, rel=1e-5)
    assert measured.equalizing_weight == pytest.approx(9, rel=1e-5)
    assert (measured.weight, measured.recommended, measured.explicit) == (40, 1, True)


def test_two_losses_of_one_head_are_measured_apart() -> None:
    """Each loss of a list has an entry of its own, in order."""
    model = inject(detector("roi_heads"), {"roi_heads": ["smooth_l1", "giou"], "rpn": "giou"})
    found = calibrate(model, BATCHES)
    assert [(one.head, one.loss) for one in found] == [
        ("rpn", "giou"),
        ("roi_heads", "smooth_l1"),
        ("roi_heads", "giou"),
    ]
    assert len({one.gradient for one in found}) == 3


def test_calibration_leaves_weights_gradients_and_mode_alone() -> None:
    """After calibration the parameters, their gradients, the mode and the next losses are what they were."""
    model = inject(detector("roi_heads"), {"roi_heads": "wiou"}).eval()
    before = copy.deepcopy(model)
    calibrate(model, BATCHES)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in before.named_parameters():
        assert torch.equal(dict(model.named_parameters())[name], value), name
    assert not any(module._forward_hooks for module in model.modules())


def test_parts_keep_their_own_mode() -> None:
    """A part that you froze, such as batch norm in eval mode, is as it was afterwards, also after an error."""
    model = inject(detector("roi_heads"), {"roi_heads": "wiou"})
    model.backbone.eval()
    before = {name: module.training for name, module in model.named_modules()}
    calibrate(model, BATCHES)
    assert {name: module.training for name, module in model.named_modules()} == before

    def ending_early() -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        yield BATCHES[0]
        raise OSError("the images are gone")

    with pytest.raises(OSError, match="gone"):
        calibrate(model, ending_early())
    assert {name: module.training for name, module in model.named_modules()} == before


def test_without_any_object_nothing_is_measured() -> None:
    """Batches without a match give no entry instead of a division by zero."""
    assert calibrate(inject(detector("ssd"), {"ssd": "giou"}), [batch(counts=(0, 0))]) == []


def entry(**changed: object) -> Calibration:
    values = {
        "head": "roi_heads", "loss": "giou", "value": 1.0, "gradient": 1.0, "stock_value": 1.0, "stock_gradient": 12.0,
        "weight": 10.0, "recommended": 10.0, "explicit": True, "batches": 1,
    }  # fmt: skip
    return Calibration(**(values | changed))


@pytest.mark.parametrize(
    ("changed", "warns"),
    [
        ({}, False),  # 10 beside an equalizing 12
        ({"weight": 61.0}, True),  # 61 / 12 = 5.08 times
        ({"weight": 59.0}, False),  # 59 / 12 = 4.92 times
        ({"weight": 2.3}, True),  # 12 / 2.3 = 5.2 times
        ({"weight": 1.0, "explicit": False}, False),  # nobody chose it
        ({"weight": 0.0}, False),  # switched off on purpose
        ({"gradient": 0.0}, False),  # nothing to compare
    ],
)
def test_a_chosen_weight_more_than_five_times_off_warns(changed: dict[str, object], warns: bool) -> None:
    """Only an explicit weight more than 5 times off the equalizing one, either way, gets a sentence."""
    assert bool(far_weights([entry(**changed)])) == warns


def test_the_warning_says_what_to_write() -> None:
    """The sentence names head, loss, both factors and the recommended weight."""
    (warning,) = far_weights([entry(weight=120.0)])
    assert warning == (
        "roi_heads: with weight 120 the gradient of giou is 10 times that of the head's own loss; weight 12 "
        "would equalize them, and 10 is recommended. `detloss calibrate` measures it."
    )


def test_zero_gradients_have_infinite_weights() -> None:
    """Without a gradient there is no weight that equalizes."""
    assert entry(gradient=0.0).equalizing_weight == math.inf
    assert entry(stock_gradient=0.0).ratio == math.inf


def test_every_head_has_a_box_loss() -> None:
    """The parametrised tests above cover each of torchvision's heads."""
    assert set(STOCK) == set(BOX_LOSS)
