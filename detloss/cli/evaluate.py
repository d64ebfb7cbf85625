"""`detloss evaluate`: how good a trained detector is on annotated images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import PATH, checkpoint_of, run_folder
from detloss.text import counted


@click.command("evaluate", cls=Command, json="Print the numbers as JSON, nothing else.")
@run_folder
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train"]),
    help="Of the run's data; by default test, or else val.",
)
@click.option("--images", type=PATH, help="Or a folder of other images, with --annotations.")
@click.option("--annotations", type=PATH, help="Their COCO JSON file.")
@checkpoint_of
@click.option("--output", "-o", type=PATH, help="File for the boxes as COCO results.")
def command(
    run: Path,
    *,
    split: Literal["test", "val", "train"] | None,
    images: Path | None,
    annotations: Path | None,
    checkpoint: Literal["best", "last"] | None,
    output: Path | None,
) -> Result:
    """Measure a trained detector, as COCO does.

    Prints AP of all objects, of each class, by size and at each IoU threshold. Other images (--images) need the
    category names of the training; the ids may differ.
    """
    if (images is None) != (annotations is None) or (images is not None and split is not None):
        raise click.BadParameter("give --images and --annotations together, without --split")
    with needs("train", "Evaluating"):
        from detloss.training.detection import evaluate, foreign_data, split_of
        from detloss.training.trained import open_trained
    from detloss.cli.output import with_bar

    trained = open_trained(run, checkpoint)
    if images is not None and annotations is not None:
        name, data = str(annotations), foreign_data(trained, images, annotations)
    else:
        name, data = split_of(trained, split)
    found = evaluate(trained, data, output=output, bar=lambda batches: with_bar(batches, "Batches"))
    return Result({"run": str(run), "data": name, **found}, lambda: _print(found, name))


def _print(found: Mapping[str, Any], name: str) -> None:
    from detloss.cli.output import AP_NUMBERS, ap, new_table, stdout

    out = stdout()
    rows = [{"name": "all", **found}, *found["classes"]]
    size = f"{counted(found['images'], 'image')}, {counted(found['objects'], 'object')}"
    out.print(f"{found['checkpoint']} on {name}: {size}\n", soft_wrap=True)
    table = new_table("", numbers=("objects", *AP_NUMBERS))
    for row in rows:
        table.add_row(row["name"], str(row["objects"]), *(ap(row[key]) for key in AP_NUMBERS))
    out.print(table)
    out.print("\nAP at each IoU threshold\n")
    table = new_table("", numbers=[threshold.removeprefix("0") for threshold in found["by_iou"]])
    for row in rows:
        table.add_row(row["name"], *(ap(value).removeprefix("0")[:4] for value in row["by_iou"].values()))
    out.print(table)
