"""`detloss predict`: boxes in images, drawn and as JSON."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import PATH, checkpoint_of, run_folder
from detloss.text import counted

if TYPE_CHECKING:
    from detloss.training.detection import Predicted


@click.command("predict", cls=Command, json="Print the boxes as JSON, nothing else.")
@run_folder
@click.argument(
    "images",
    type=PATH,
    nargs=-1,
    required=True,
    metavar="IMAGE...",
    help="Image files, and folders of them.",
)
@click.option("--score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Least score of a box.")
@click.option("--output", "-o", type=PATH, help="New folder for the results; by default RUN/predict-TIME.")
@checkpoint_of
def command(
    run: Path,
    images: tuple[Path, ...],
    score: float,
    output: Path | None,
    checkpoint: Literal["best", "last"] | None,
) -> Result:
    """Detect objects in images with a trained detector.

    The output folder gets each image with its boxes drawn, and `predictions.json` with all boxes as COCO results. An
    image that cannot be read is skipped and named.
    """
    with needs("train", "Detecting"):
        from detloss.training.detection import predict
        from detloss.training.trained import open_trained
    from detloss.cli.output import stderr, with_bar

    found = predict(
        open_trained(run, checkpoint), images, output, score=score, bar=lambda files: with_bar(files, "Images")
    )
    for reason in found.skipped.values():
        stderr().print(f"Skipped: {reason}", soft_wrap=True)
    data = {"folder": str(found.folder), "images": found.files, "results": found.results, "skipped": found.skipped}
    return Result(data, lambda: _print(found, score))


def _print(found: Predicted, score: float) -> None:
    from detloss.cli.output import new_table, stdout

    out = stdout()
    if found.results:
        table = new_table("class", numbers=("boxes", "images"))
        for name, boxes in Counter(one["name"] for one in found.results).most_common():
            images = {one["file_name"] for one in found.results if one["name"] == name}
            table.add_row(name, str(boxes), str(len(images)))
        out.print(table)
        out.print()
    count, boxes = len(found.files), len(found.results)
    empty = count - len({one["image_id"] for one in found.results})
    out.print(
        f"{counted(count, 'image')}, {counted(boxes, 'box')} with a score of {score:g} or more; "
        f"{empty} without a box{f', {len(found.skipped)} skipped' if found.skipped else ''}."
    )
    if not boxes:
        out.print("A lower --score shows what the detector is less sure of.")
    out.print(f"Images with boxes, and predictions.json, are in {found.folder}", soft_wrap=True)
