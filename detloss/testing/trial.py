"""One run of one check: builds the loss, calls it and compares."""

import pickle
import random
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss.testing.expecting import Comparing, shown
from detloss.testing.subject import Subject

IMAGE_SIZE = (800.0, 1000.0)
"""Height and width in pixels of the network input of the pairs."""
SHORTEST, LONGEST = 4.0, 300.0
"""Sides in pixels of the boxes of `pairs`."""

Pair = tuple[Tensor, Tensor]
Loss = Callable[..., Tensor]


class Trial(Comparing):
    """The tools of a check of a loss.

    Attributes:
        subject: The loss that is checked.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.subject = subject

    def fresh(self) -> BoxRegressionLoss:
        """Return a new instance, as a head gets it: in training mode."""
        config = self.subject.config
        try:
            loss = self.subject.cls(config)
            # A module without `super().__init__` is empty, and one with another config would be another loss.
            found = "" if vars(loss).get("config") is config else "one without that config"
        except TypeError as error:
            found = f"TypeError: {error}"
        if found:
            self.cause = "__init__"
            advice = (
                "Fix: write no __init__, or start it with `def __init__(self, config=None, **params)` and "
                "`super().__init__(config, **params)`. Parameters are fields of `Config`."
            )
            self.expect(False, f"{self.subject.cls.__name__}(config) to make a loss", found, advice)
        return loss

    def stages(self) -> Iterator[BoxRegressionLoss]:
        """Yield the loss in evaluation mode; with ``progress``, at its end too."""
        yield self.fresh().eval()
        ended = self.fresh().eval()
        if set_progress(ended, 1.0):
            yield ended

    def pairs(self, n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Pair:
        """Return N ordinary pairs; every other prediction is near its target.

        Boxes have sides of 4 to 300 px, deltas are normally distributed around 0. Both dtypes get the same numbers, up
        to rounding.
        """
        generator = torch.Generator().manual_seed(seed)
        every_other = (torch.arange(n) % 2 == 0).unsqueeze(1)
        normal = torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
        if self.subject.cls.space == "deltas":
            pred, target = torch.where(every_other, normal[1] + 0.3 * normal[0], normal[0]), normal[1]
            return pred.to(dtype), target.to(dtype)
        uniform = torch.rand(2, n, 4, generator=generator, dtype=torch.float64)
        corner, size = 300 * uniform[..., :2], SHORTEST * (LONGEST / SHORTEST) ** uniform[..., 2:]
        near_corner = corner[1] + 0.15 * size[1] * normal[0, :, :2]
        near_size = size[1] * (0.2 * normal[0, :, 2:]).exp()
        pred_corner = torch.where(every_other, near_corner, corner[0])
        pred_size = torch.where(every_other, near_size, size[0])
        pred = torch.cat([pred_corner, pred_corner + pred_size], dim=1)
        target = torch.cat([corner[1], corner[1] + size[1]], dim=1)
        return pred.to(dtype), target.to(dtype)

    def extras(self, target: Tensor) -> dict[str, Tensor]:
        """Return the extras that a head would supply for a target."""
        anchor = target.new_tensor((100.0, 100.0, 200.0, 180.0)).expand(target.shape)
        given = {
            "image_size": target.new_tensor(IMAGE_SIZE).expand(*target.shape[:-1], 2),
            "anchors": target if self.subject.cls.space == "boxes" else anchor,
        }
        return {name: given[name].detach().clone() for name in self.subject.cls.extras}

    def call(self, loss: Loss, pred: Tensor, target: Tensor, extras: Mapping[str, Tensor] | None = None) -> Tensor:
        """Call the loss itself, always with the same random numbers."""
        set_seed(0)
        value = loss(pred, target, **(self.extras(target) if extras is None else extras))
        if not isinstance(value, Tensor):
            self.cause = "tensor"
            self.expect(False, "a tensor from forward", f"{value!r:.80}", "Fix: return the values, one a pair.")
        return value

    def values(self, loss: Loss, pred: Tensor, target: Tensor, extras: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return only the values, ``(N,)``, from copies of the inputs."""
        value = self.call(loss, pred.detach().clone(), target.detach().clone(), extras)
        return self.one_a_pair(value, pred).detach()

    def values_and_gradient(self, loss: Loss, pred: Tensor, target: Tensor) -> Pair:
        """Return values ``(N,)`` and the gradient of their sum ``(N, 4)``."""
        pred = pred.detach().clone().requires_grad_()
        value = self.one_a_pair(self.call(loss, pred, target.detach().clone()), pred)
        return value.detach(), self.gradient(value, pred)

    def gradient(self, value: Tensor, pred: Tensor) -> Tensor:
        """Return the gradient of the sum of values into the prediction."""
        self.expect_connected(value)
        return torch.autograd.grad(value.sum(), pred)[0]

    def expect_connected(self, value: Tensor) -> None:
        """Refuse values without a gradient; autograd's message is unclear."""
        if not value.requires_grad:
            found = f"{str(value.dtype).removeprefix('torch.')} values without one"
            self.cause = "gradient"
            advice = (
                "Fix: compute the values from pred with torch, not under `torch.no_grad()` and not only by comparisons."
            )
            self.expect(False, "values with a gradient into the prediction", found, advice)

    def one_a_pair(self, value: Tensor, pred: Tensor) -> Tensor:
        """Return the values as a row; another check is about their shape."""
        if value.numel() != pred.shape[:-1].numel():
            self.cause = "shape"
            self.expect(False, f"{len(pred)} values for {len(pred)} pairs", f"shape {tuple(value.shape)}", PAIRWISE)
        return value.reshape(-1)


PAIRWISE = (
    "Fix: return one value a pair: sum only over the last dimension, keep all pairs (`torch.where`, not a mask), and "
    "take no mean (`squeeze()` without a dimension drops a batch of one)."
)
"""The fix of a wrong shape."""


def set_seed(number: int) -> None:
    """Set the random numbers of torch, Python and numpy."""
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def random_state() -> bytes:
    """Return the state of these random numbers."""
    return pickle.dumps((torch.get_rng_state().numpy(), random.getstate(), np.random.get_state()))


def set_progress(loss: BoxRegressionLoss, done: float) -> bool:
    """Set the progress of a loss; False if it has none."""
    found = [buffer for name, buffer in loss.named_buffers() if name.rpartition(".")[2] == "progress"]
    for buffer in found:
        buffer.fill_(done)
    return bool(found)


def pair_at(pred: Tensor, target: Tensor, row: int) -> str:
    """Return one pair as a message shows it."""
    return f"pred {shown(pred[row])}, target {shown(target[row])}"
