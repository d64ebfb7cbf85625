"""`detloss calibrate`: how strongly each loss pulls, next to torchvision's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import config_or_default, overrides
from detloss.text import counted

if TYPE_CHECKING:
    from detloss.calibration import Calibration


@click.command("calibrate", cls=Command, json="Print the numbers as JSON, nothing else.")
@config_or_default
@click.option(
    "--batches", type=click.IntRange(min=1), default=4, show_default=True, help="How many training batches to run."
)
@overrides
def command(config: Path | None, batches: int, overrides: tuple[str, ...]) -> Result:
    """Measure how strongly each loss pulls, and find a matching weight.

    Some batches of the training data run through the untrained model. The gradient of each loss at its head is compared
    with that of torchvision's own loss. Nothing is trained and nothing is written.
    """
    with needs("train", "Reading training data"):
        from detloss.training.loss_weights import model_and_batches
    from detloss.calibration import calibrate
    from detloss.cli.output import with_bar

    model, data = model_and_batches(config, overrides, batches)
    measured = calibrate(model, with_bar(data, "Batches", batches))
    return Result(
        {"batches": batches, "losses": [_as_data(one) for one in measured]}, lambda: _print(measured, batches)
    )


def _as_data(one: Calibration) -> dict[str, Any]:
    numbers = asdict(one) | {"ratio": one.ratio, "equalizing_weight": one.equalizing_weight}
    return {key: None if value in (math.inf, -math.inf) else value for key, value in numbers.items()}


def _print(measured: list[Calibration], batches: int) -> None:
    from rich.text import Text

    from detloss.calibration import far_weights
    from detloss.cli.output import new_table, stdout

    out = stdout()
    if not measured:
        out.print(
            f"No object was matched in {counted(batches, 'batch')}, so nothing could be measured. Try more: --batches."
        )
        return
    table = new_table("head", "loss", numbers=_NUMBERS)
    for one in measured:
        table.add_row(Text(one.head), Text(one.loss), *(cell(one) for cell in _NUMBERS.values()))
    if out.measure(table, options=out.options.update_width(_ANY_WIDTH)).minimum <= out.width:
        out.print(table)
    else:  # where words and numbers would be cut in two, each loss has its numbers below it
        for one in measured:
            out.print(Text.assemble("" if one is measured[0] else "\n", (one.head, "bold cyan"), f"  {one.loss}"))
            for heading, cell in _NUMBERS.items():
                out.print(f"  {heading:<18} {cell(one)}", highlight=False)
    fewest, most = min(one.batches for one in measured), max(one.batches for one in measured)
    counts = counted(most, "batch") if fewest == most else f"{fewest} to {counted(most, 'batch')}"
    out.print(
        f"\nMeans over {counts} with a match, of the untrained model. Gradients are norms at the head's output, of "
        "losses at weight 1; stock is torchvision's own loss of the head.",
        highlight=False,
    )
    for sentence in far_weights(measured):
        out.print(f"\nFar off: {sentence}", markup=False, highlight=False)


_ANY_WIDTH = 10_000
"""Columns: a table is asked how narrow it can be, and never says more than it is offered."""


_NUMBERS: dict[str, Callable[[Calibration], str]] = {
    "value": lambda one: f"{one.value:.4g}",
    "stock value": lambda one: f"{one.stock_value:.4g}",
    "gradient": lambda one: f"{one.gradient:.3g}",
    "stock gradient": lambda one: f"{one.stock_gradient:.3g}",
    "ratio": lambda one: f"{one.ratio:.3g}",
    "equalizing weight": lambda one: f"{one.equalizing_weight:.3g}",
    "weight in use": lambda one: f"{one.weight:g}{'' if one.explicit else ' (default)'}",
    "recommended": lambda one: "none" if one.recommended is None else f"{one.recommended:g}",
}
