"""Checks of a loss in a head and in training."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from detloss.heads.losses import HeadLosses, Matches, Term
from detloss.heads.small_detectors import images as two_images
from detloss.heads.small_detectors import retinanet
from detloss.injection import inject
from detloss.loss import BoxRegressionLoss
from detloss.testing.check import Check
from detloss.testing.expecting import shown
from detloss.testing.trial import IMAGE_SIZE, Trial, set_seed

SIDE = 600.0
"""Side in pixels of the largest box in half precision; its area (360,000) overflows float16."""
CLOSE = 1e-3
"""Relative difference between a loss of half-precision deltas and of the same float32 numbers."""
STEPS, RATE, KEPT = 24, 0.01, 0.98
"""Steps of the tiny training, its learning rate, and the share of the first loss that may remain. With the published
losses, this small detector loses 4 to 90 % of it."""


@Check
def half_precision(trial: Trial) -> None:
    """In a head in half precision, loss and gradient are finite."""
    for loss in trial.stages():
        for dtype in (torch.float16, torch.bfloat16):
            matches, deltas = _matches(dtype)
            found = _in_head(trial, loss, matches)
            trial.expect(
                bool(torch.isfinite(found)),
                f"a finite loss in {dtype}",
                shown(found),
                "Fix: keep its values within float32.",
            )
            (gradient,) = torch.autograd.grad(found, deltas)
            trial.expect_each(
                torch.isfinite(gradient),
                f"a finite gradient in {dtype}",
                gradient,
                "float16 ends at 65,504, too small for a loss in square pixels or with a large factor. Fix: divide by "
                "an area or a diagonal, and use the head's weight as factor. For NaN, see `finite_gradient`.",
            )
            same_numbers, _ = _matches(torch.float32, deltas)
            wanted = _in_head(trial, loss, same_numbers)
            _expect_same(trial, found, wanted, f"the loss of the same numbers in float32 for {dtype}")
        matches, _ = _matches(torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = _in_head(trial, loss, matches)
        _expect_same(trial, found, _in_head(trial, loss, matches), "the same loss under autocast")


@Check
def training(trial: Trial) -> None:
    """In the training of a tiny RetinaNet the loss falls."""
    set_seed(0)
    model, (images, targets) = retinanet().train(), two_images()

    def box_loss() -> Tensor:
        losses = model(images, [dict(target) for target in targets])
        value: Tensor = losses["bbox_regression"]
        return value

    # The first and the last loss come from new instances: a loss that divides by its running mean never falls.
    inject(model, {"retinanet": trial.fresh()})
    first = box_loss().detach()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = box_loss()
        trial.expect(bool(loss.isfinite()), f"a finite loss in step {step}", shown(loss), _NOT_FINITE)
        trial.expect_connected(loss)
        torch.autograd.backward(loss)
        optimizer.step()
    inject(model, {"retinanet": trial.fresh()})
    last = box_loss().detach()
    trial.expect(
        bool(last < KEPT * first),
        f"the loss to fall below {shown(KEPT * first)} in {STEPS} steps of training",
        f"{shown(first)} before and {shown(last)} after them",
        _DIRECTION,
    )


def _in_head(trial: Trial, loss: BoxRegressionLoss, matches: Matches) -> Tensor:
    set_seed(0)
    total: Tensor = HeadLosses("roi_heads", [Term(type(loss).__name__, 1.0)], [loss])(matches)
    trial.expect_connected(total)
    return total


def _expect_same(trial: Trial, found: Tensor, wanted: Tensor, expected: str) -> None:
    advice = "Fix: compute in the dtype of the boxes, independent of autocast and the default dtype."
    trial.expect_close(found.detach().reshape(1), wanted.detach().reshape(1), CLOSE, expected, advice)


def _matches(dtype: torch.dtype, deltas: Tensor | None = None) -> tuple[Matches, Tensor]:
    """Return matches of 30 to 600 px, and their deltas."""
    n, generator, coder = 16, torch.Generator().manual_seed(0), BoxCoder((1.0, 1.0, 1.0, 1.0))
    size = torch.linspace(30, SIDE, n).unsqueeze(1).repeat(1, 2)
    corner = 100 * torch.rand(n, 2, generator=generator)
    anchors = torch.cat([corner, corner + size], dim=1)
    target = torch.cat([corner + 0.1 * size, corner + size * (0.9 + 0.3 * torch.rand(n, 2, generator=generator))], 1)
    encoded = coder.encode_single(target, anchors)
    if deltas is None:
        deltas = encoded + 0.2 * torch.randn(n, 4, generator=generator)
    leaf = deltas.detach().to(dtype).requires_grad_()
    matches = Matches(
        pred_deltas=leaf,
        target_boxes=target,
        anchors=anchors,
        decode=lambda deltas: coder.decode_single(deltas, anchors),
        target_deltas=lambda: encoded,
        image_size=lambda: torch.tensor(IMAGE_SIZE).expand(n, 2),
        stock_divisor=1.0,  # an image with one match: nothing makes its gradient smaller
        stock_loss=lambda: leaf.float().abs().mean(),
        head_output=leaf,
    )
    return matches, leaf


_NOT_FINITE = "One NaN in a gradient makes every weight NaN. Fix: find the boxes with finite_value and finite_gradient."
_DIRECTION = "Fix: check the gradient for boxes that overlap their target by half: zero, too large, or wrong sign."
