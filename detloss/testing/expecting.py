"""Compares what a check found with what it expected."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detloss.errors import ConformanceError


class DoesNotApply(Exception):  # noqa: N818 - it is not an error: the report shows its reason
    """A promise means nothing for what is checked; its text says why."""


class Comparing:
    """Comparisons of one run of one check.

    Attributes:
        comparisons: Number of compared values; a check that compares nothing fails.
        advice: The fix if what is checked raises an error in this check; a sentence, or empty.
        cause: What is missing for many checks, if a check found that; else empty.
        remarks: Sentences about what is not promised; the report shows them although the check passed.
    """

    def __init__(self) -> None:
        self.comparisons = 0
        self.advice = ""
        self.cause = ""
        self.remarks: list[str] = []

    def expect(self, ok: bool, expected: str, found: object, advice: str) -> None:
        """Compare once; if it fails, say what was expected and found.

        Raises:
            ConformanceError: It does not hold.
        """
        self.comparisons += 1
        if not ok:
            raise ConformanceError(f"Expected {expected}, found {found}. {advice}")

    def expect_each(
        self,
        ok: Tensor,
        expected: str,
        found: Tensor,
        advice: str,
        *,
        beside: Tensor | None = None,
        where: Callable[[int], str] = "pair {}".format,
    ) -> None:
        """Compare ``(N,)`` or ``(N, ...)`` booleans row by row.

        The message is about the first wrong row.

        It shows the value there, the ``beside`` value that it was compared with, and names the row by ``where``.

        Raises:
            ConformanceError: The promise does not hold in some row.
        """
        self.comparisons += ok.numel()
        rows = ok.reshape(len(ok), math.prod(ok.shape[1:])).all(dim=1)
        if rows.all():
            return
        row = int((~rows).nonzero()[0, 0])
        compared = "" if beside is None else f" (compared with {shown(beside[row])})"
        raise ConformanceError(f"Expected {expected}, found {shown(found[row])}{compared} in {where(row)}. {advice}")

    def expect_close(self, got: Tensor, wanted: Tensor, tolerance: float, expected: str, advice: str) -> None:
        """Compare two results; ``tolerance`` is relative to the largest, or 1."""
        if got.shape != wanted.shape:
            self.expect(False, expected, f"shape {tuple(got.shape)}, not {tuple(wanted.shape)}", advice)
        got, wanted = got.double(), wanted.double()
        slack = tolerance * scale(wanted)
        ok = same(got, wanted) | ((got - wanted).abs() <= slack)
        self.expect_each(ok, expected, got, advice, beside=wanted)


def same(first: Tensor, second: Tensor) -> Tensor:
    """Tell which numbers are the same; NaN is the same as NaN."""
    return (first == second) | (first.isnan() & second.isnan())


def scale(values: Tensor) -> float:
    """Return the scale of a tolerance: the largest value, or 1."""
    finite = torch.where(values.isfinite(), values.detach().abs(), 0.0)
    return float(finite.max().clamp(min=1.0))


def shown(values: Tensor) -> str:
    """Return numbers as a message shows them."""
    numbers = [f"{number:.6g}" for number in values.detach().reshape(-1).tolist()]
    return numbers[0] if len(numbers) == 1 else f"[{', '.join(numbers)}]"
