"""`detloss evaluate`: how good a trained detector is on annotated images, in all and class by class."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detloss.cli.extras import needs
from detloss.cli.options import CheckpointOf, RunFolder

if TYPE_CHECKING:
    from rich.console import Console


def command(
    run: RunFolder,
    *,
    split: Annotated[
        Literal["test", "val", "train"] | None,
        typer.Option("--split", help="Of the run's data; by default test, or else val.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Or a folder of other images, with --annotations.", show_default=False),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Their COCO JSON file.", show_default=False)
    ] = None,
    checkpoint: CheckpointOf = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the boxes as COCO results.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, nothing else.")] = False,
) -> None:
    """Measure the detector that a run trained, as COCO does.

    Prints AP of all objects, of each class, by size and at each IoU threshold. Other images (--images) need the
    categories of the training, by name; their ids may be others.
    """
    if (images is None) != (annotations is None) or (images is not None and split is not None):
        raise typer.BadParameter("give --images and --annotations together, without --split")
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        with needs("train", "Evaluating"):
            from detloss.training.detection import evaluate, foreign_data, split_of  # noqa: PLC0415 - not for help
            from detloss.training.trained import open_trained  # noqa: PLC0415
        from detloss.cli.output import stdout, with_bar  # noqa: PLC0415

        trained = open_trained(run, checkpoint)
        if images is not None and annotations is not None:
            name, data = str(annotations), foreign_data(trained, images, annotations)
        else:
            name, data = split_of(trained, split)
        found = evaluate(trained, data, output=output, bar=lambda batches: with_bar(batches, "Batches"))
    if as_json:
        print(json.dumps({"run": str(run), "data": name, **found}, indent=2))
    else:
        _print(stdout(), found, name)


def _print(out: Console, found: Mapping[str, Any], name: str) -> None:
    from detloss.cli.output import AP_NUMBERS, ap, new_table  # noqa: PLC0415 - help needs none of it

    rows = [{"name": "all", **found}, *found["classes"]]
    out.print(
        f"{found['checkpoint']} on {name}: {found['images']} images, {found['objects']} objects\n", soft_wrap=True
    )
    table = new_table("")
    for heading in ("objects", *AP_NUMBERS):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row["name"], str(row["objects"]), *(ap(row[key]) for key in AP_NUMBERS))
    out.print(table)
    out.print("\nAP at each IoU threshold\n")
    table = new_table("")
    for heading in found["by_iou"]:
        table.add_column(heading.removeprefix("0"), justify="right")
    for row in rows:
        table.add_row(row["name"], *(ap(value).removeprefix("0")[:4] for value in row["by_iou"].values()))
    out.print(table)
