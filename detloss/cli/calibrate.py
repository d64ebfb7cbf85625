"""`detloss calibrate`: how strongly each loss of a config pulls on its head, next to torchvision's own loss."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detloss.cli.extras import needs
from detloss.cli.options import ConfigOrDefault, Overrides

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.calibration import Calibration


def command(
    config: ConfigOrDefault = None,
    *,
    batches: Annotated[int, typer.Option("--batches", min=1, help="How many training batches to run.")] = 4,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, nothing else.")] = False,
) -> None:
    """Measure how strongly each loss of a config pulls on its head, and which weight would match torchvision's loss.

    Some batches of the training data run through the untrained model; nothing is trained and nothing is written.
    """
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        measured = _measure(config, batches, tuple(overrides or ()))
    if as_json:
        print(json.dumps({"batches": batches, "losses": [_as_data(one) for one in measured]}, indent=2))
        return
    from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

    _print(stdout(), measured, batches)


def _measure(config: Path | None, batches: int, overrides: tuple[str, ...]) -> list[Calibration]:
    with needs("train", "Reading training data"):
        from detloss.training.loss_weights import model_and_batches  # noqa: PLC0415 - help needs none of it
    from detloss.calibration import calibrate  # noqa: PLC0415 - as above

    model, data = model_and_batches(config, overrides, batches)
    from detloss.cli.output import with_bar  # noqa: PLC0415 - help needs none of it

    return calibrate(model, with_bar(data, "Batches", batches))


def _as_data(one: Calibration) -> dict[str, Any]:
    numbers = asdict(one) | {"ratio": one.ratio, "equalising_weight": one.equalising_weight}
    return {key: None if value in (math.inf, -math.inf) else value for key, value in numbers.items()}


def _print(out: Console, measured: list[Calibration], batches: int) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - as in `command`
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from detloss.calibration import far_weights  # noqa: PLC0415 - loaded already

    if not measured:
        out.print(f"No object was matched in {_counted(batches)}, so nothing could be measured. Try more: --batches.")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for heading in ("head", "loss"):
        table.add_column(heading, style="bold cyan" if heading == "loss" else None)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right")
    for one in measured:
        table.add_row(Text(one.head), Text(one.loss), *(cell(one) for cell in _NUMBERS.values()))
    if out.measure(table, options=out.options.update_width(_ANY_WIDTH)).minimum <= out.width:
        out.print(table)
    else:  # where words and numbers would be cut in two, each loss has its numbers below it
        for one in measured:
            out.print(Text.assemble("" if one is measured[0] else "\n", f"{one.head}  ", (one.loss, "bold cyan")))
            for heading, cell in _NUMBERS.items():
                out.print(f"  {heading:<18} {cell(one)}", highlight=False)
    fewest, most = min(one.batches for one in measured), max(one.batches for one in measured)
    counts = _counted(most) if fewest == most else f"{fewest} to {_counted(most)}"
    out.print(
        f"\nMeans over {counts} with a match, of the untrained model. Gradients are norms at the head's output, of "
        "losses at weight 1; stock is torchvision's own loss of the head.",
        highlight=False,
    )
    for sentence in far_weights(measured):
        out.print(f"\nFar off: {sentence}", markup=False, highlight=False)


_ANY_WIDTH = 10_000
"""Columns: a table is asked how narrow it can be, and never says more than it is offered."""


def _counted(batches: int) -> str:
    return f"{batches} batch{'es' * (batches != 1)}"


_NUMBERS: dict[str, Callable[[Calibration], str]] = {
    "value": lambda one: f"{one.value:.4g}",
    "stock value": lambda one: f"{one.stock_value:.4g}",
    "gradient": lambda one: f"{one.gradient:.3g}",
    "stock gradient": lambda one: f"{one.stock_gradient:.3g}",
    "ratio": lambda one: f"{one.ratio:.3g}",
    "equalising weight": lambda one: f"{one.equalising_weight:.3g}",
    "weight in use": lambda one: f"{one.weight:g}{'' if one.explicit else ' (default)'}",
    "recommended": lambda one: "none" if one.recommended is None else f"{one.recommended:g}",
}
