"""The losses of one head: their inputs, weights, divisors and sum."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detloss.errors import InjectionError
from detloss.heads.compiled import call_compiled
from detloss.loss import BoxRegressionLoss, Space, at_least_float32


@dataclass(frozen=True, eq=False, kw_only=True)
class Matches:
    """The N positive pairs of one training step in one head.

    Every loss of the head is computed from them.
    """

    pred_deltas: Tensor
    """``(N, 4)`` the head's encoded regression, part of the graph, in the head's own dtype."""
    target_boxes: Tensor
    """``(N, 4)`` the matched ground-truth boxes themselves: x1, y1, x2, y2 in network-input pixels."""
    decode: Callable[[Tensor], Tensor]
    """``deltas -> boxes`` in network-input pixels, each ``(N, 4)``; called where a loss works on boxes."""
    target_deltas: Callable[[], Tensor]
    """Gives ``(N, 4)`` the head's encoding of `target_boxes`; called where a loss works on deltas."""
    stock_divisor: float | Tensor
    """The divisor of the head's sum: one number, or ``(N,)`` if it depends on the pair."""
    stock_loss: Callable[[], Tensor]
    """Gives the head's own box loss of this step, a scalar, before its gain; only calibration and checks call it."""
    head_output: Tensor
    """The head's regression for all samples, in its own shape: the source of `pred_deltas` and `stock_loss`."""
    image_size: Callable[[], Tensor] | None = None
    """Gives ``(N, 2)`` height and width in pixels of the network input of each pair, if the adapter supplies it."""
    anchors: Tensor | None = None
    """``(N, 4)`` the proposals or anchors: x1, y1, x2, y2 in network-input pixels, if the adapter supplies them."""
    weights: Tensor | None = None
    """``(N,)`` the head's own weight of each pair; None means 1."""
    entries: Sequence[int] | None = None
    """The number of pairs of each entry of the loss dict, if the head has several: one a decoder layer, say."""

    def __len__(self) -> int:
        return self.pred_deltas.shape[0]

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum of ``(N,)`` values, or of each entry."""
        if self.entries is None:
            return values.sum()
        return torch.stack([part.sum() for part in torch.split(values, list(self.entries))])


@dataclass(frozen=True)
class Term:
    """How a head uses one of its losses."""

    name: str
    weight: float
    normalizer: Literal["stock", "positives"] = "stock"
    explicit: bool = True
    """Whether you set the weight; else it is the recommended one."""
    compile: bool = False
    """Whether `torch.compile` computes the loss."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Inputs and result of one loss in one step, without graph."""

    head: str
    term: Term
    loss: BoxRegressionLoss
    pred: Tensor
    """``(N, 4)`` in the loss's space."""
    target: Tensor
    """``(N, 4)`` in the loss's space."""
    extras: Mapping[str, Tensor]
    """The other inputs of the loss."""
    state: Mapping[str, Tensor]
    """The loss's own state before it was called, as in its ``state_dict``."""
    part: Tensor
    """Its result before its weight, normalized and summed over all pairs; a scalar."""


class HeadLosses(nn.Module):
    """The weighted sum of the losses of one head.

    It is a submodule of the head, so a loss with state is moved, saved and synchronized like any other module. Losses
    without state add no key to the head's ``state_dict``.

    Attributes:
        kept: A list that you may put here: every training step adds the inputs of each loss. A copy by
            `copy.deepcopy` or pickle has none.
    """

    kept: list[Pairs] | None = None

    def __init__(self, head: str, terms: Sequence[Term], losses: Sequence[BoxRegressionLoss]) -> None:
        super().__init__()
        self.head = head
        self.terms = tuple(terms)
        self.losses = nn.ModuleList(losses)

    def forward(self, matches: Matches) -> Tensor:
        """Return the loss of the step: a scalar, or ``(G,)``.

        It is ``(G,)`` if the matches have `entries`. Without a match it is a zero that is connected to the graph.
        """
        parts = self.parts(matches)
        if len(matches) == 0:
            zero = at_least_float32(matches.pred_deltas).sum() * 0
            return zero if matches.entries is None else zero.expand(len(matches.entries))
        return torch.stack([part * term.weight for part, term in zip(parts, self.terms, strict=True)]).sum(dim=0)

    def parts(self, matches: Matches) -> list[Tensor]:
        """Return each loss before its weight, normalized and summed.

        Each is a scalar, or ``(G,)`` with a sum for each entry.
        """
        self._check_pairs(matches)
        deltas = at_least_float32(matches.pred_deltas)  # what is decoded, too
        parts = []
        with _without_autocast(deltas.device):
            inputs = _Inputs(self.head, matches, deltas)
            for term, loss in zip(self.terms, self.each(), strict=True):
                # A batch-dependent loss is called without pairs too: in it the ranks of a job wait for each other.
                if len(matches) == 0 and not loss.batch_dependent:
                    continue
                compute = functools.partial(call_compiled, loss) if term.compile else loss
                pred, target = inputs.pair(loss.space)
                extras = {name: inputs.extra(name) for name in loss.extras}
                kept = self.kept if self.training else None
                state = {} if kept is None else {name: value.clone() for name, value in loss.state_dict().items()}
                values = compute(pred, target, **extras)
                self._check(term, values, len(matches))
                part = matches.sums(_weighted(values, matches) / _divisor(term, matches, values))
                parts.append(part)
                if kept is not None:
                    whole = part.detach().sum()
                    kept.append(Pairs(self.head, term, loss, pred.detach(), target.detach(), extras, state, whole))
        return parts

    def each(self) -> list[BoxRegressionLoss]:
        """Return the losses, in the order of `terms`."""
        return list(self.losses)  # type: ignore[arg-type]  # a ModuleList of them, which torch does not type

    def __str__(self) -> str:
        """Say what the head computes: ``10 * giou(eps=1e-07)``, summed with ``+``."""
        return " + ".join(
            f"{term.weight:g} * {term.name}({loss.extra_repr()})"
            + ("" if term.normalizer == "stock" else f" / {term.normalizer}")
            for term, loss in zip(self.terms, self.each(), strict=True)
        )

    def __getstate__(self) -> dict[str, Any]:
        """Drop what is kept: it belongs to a step of this module."""
        return {name: value for name, value in self.__dict__.items() if name != "kept"}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Keep the losses' state if a checkpoint has none.

        It may come from a plain model.
        """
        if not any(key.startswith(prefix) for key in state_dict):
            for key, value in self.state_dict(keep_vars=True).items():
                state_dict[prefix + key] = value
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_pairs(self, matches: Matches) -> None:
        # One target for five predictions would be broadcast silently.
        count = len(matches)
        given = {name: getattr(matches, name) for name in ("pred_deltas", "target_boxes", "anchors", "weights")}
        shapes = {name: tuple(tensor.shape) for name, tensor in given.items() if tensor is not None}
        if any(shape != ((count,) if name == "weights" else (count, 4)) for name, shape in shapes.items()):
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            expected = f"({count}, 4) each" + (f" and weights ({count},)" if "weights" in shapes else "")
            raise InjectionError(
                f"{self.head}: a step compares pairs (found {found}, expected {expected}). "
                "Fix: correct the matches of the head's adapter."
            )
        if matches.entries is not None and sum(matches.entries) != count:
            raise InjectionError(
                f"{self.head}: the entries do not hold all pairs (found {list(matches.entries)}, expected a sum of "
                f"{count}). Fix: correct the matches of the head's adapter."
            )

    def _check(self, term: Term, values: Tensor, count: int) -> None:
        if values.shape != (count,):
            raise InjectionError(
                f"{self.head}: the loss {term.name} returned a wrong shape (found {tuple(values.shape)}, expected "
                f"({count},)). Fix: return one value a pair, without weight, normalizer or sum."
            )


class _Inputs:
    """The inputs of the losses, computed once and only if needed."""

    def __init__(self, head: str, matches: Matches, deltas: Tensor) -> None:
        self.head = head
        self.matches = matches
        self.deltas = deltas

    def pair(self, space: Space) -> tuple[Tensor, Tensor]:
        return self.boxes if space == "boxes" else (self.deltas, self.cast(self.matches.target_deltas()))

    @functools.cached_property
    def boxes(self) -> tuple[Tensor, Tensor]:
        return self.matches.decode(self.deltas), self.cast(self.matches.target_boxes)

    @functools.cached_property
    def anchors(self) -> Tensor | None:
        return None if self.matches.anchors is None else self.cast(self.matches.anchors)

    @functools.cached_property
    def image_size(self) -> Tensor | None:
        return None if self.matches.image_size is None else self.cast(self.matches.image_size())

    def extra(self, name: str) -> Tensor:
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            raise InjectionError(
                f"{self.head}: the head's adapter says that it supplies {name}, but its matches have none. "
                "Fix: correct the matches of the head's adapter."
            )
        return tensor

    def cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.deltas.dtype)


def _weighted(values: Tensor, matches: Matches) -> Tensor:
    return values if matches.weights is None else values * matches.weights.to(values.dtype)


def _divisor(term: Term, matches: Matches, values: Tensor) -> float | Tensor:
    if term.normalizer == "stock":
        return matches.stock_divisor
    if matches.weights is None and matches.entries is None:
        return float(max(1, len(matches)))
    # At least 1, as in the heads themselves: the few pairs of a small sum of weights would weigh too much.
    totals = matches.sums(_weighted(torch.ones_like(values), matches)).clamp(min=1)
    if matches.entries is None:
        return totals
    return totals.repeat_interleave(torch.tensor(matches.entries, device=totals.device), output_size=len(matches))


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    # The meta device, for example, has no autocast.
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
