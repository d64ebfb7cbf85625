"""`detloss predict`: images with the boxes that a trained detector finds in them, and the boxes as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detloss.cli.extras import needs
from detloss.cli.options import CheckpointOf, RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.training.detection import Predicted


def command(
    run: RunFolder,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files, and folders that are searched for such.", metavar="IMAGE", show_default=False
        ),
    ],
    *,
    score: Annotated[float, typer.Option("--score", min=0, max=1, help="Least score of a box.")] = 0.5,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="New folder for the results; by default RUN/predict-TIME.", show_default=False
        ),
    ] = None,
    checkpoint: CheckpointOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the boxes as JSON, nothing else.")] = False,
) -> None:
    """Detect objects in images with the detector that a run trained.

    The output folder gets each image with its boxes drawn, and `predictions.json` with all boxes as COCO results. An
    image that cannot be read is skipped and named.
    """
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        with needs("train", "Detecting"):
            from detloss.training.detection import predict  # noqa: PLC0415 - help needs none of it
            from detloss.training.trained import open_trained  # noqa: PLC0415
        from detloss.cli.output import stderr, with_bar  # noqa: PLC0415

        found = predict(
            open_trained(run, checkpoint), images, output, score=score, bar=lambda files: with_bar(files, "Images")
        )
        for reason in found.skipped.values():
            stderr().print(f"Skipped: {reason}", soft_wrap=True)
    if as_json:
        shown = {"folder": str(found.folder), "images": found.files, "results": found.results, "skipped": found.skipped}
        print(json.dumps(shown, indent=2))
        return
    from detloss.cli.output import stdout  # noqa: PLC0415

    _print(stdout(), found, score)


def _print(out: Console, found: Predicted, score: float) -> None:
    from detloss.cli.output import new_table  # noqa: PLC0415 - help needs none of it

    if found.results:
        table = new_table("class")
        table.add_column("boxes", justify="right")
        table.add_column("images", justify="right")
        for name, boxes in Counter(one["name"] for one in found.results).most_common():
            images = {one["file_name"] for one in found.results if one["name"] == name}
            table.add_row(name, str(boxes), str(len(images)))
        out.print(table)
        out.print()
    count, boxes = len(found.files), len(found.results)
    empty = count - len({one["image_id"] for one in found.results})
    out.print(
        f"{count} image{'s' * (count != 1)}, {boxes} box{'es' * (boxes != 1)} with a score of {score:g} or more; "
        f"{empty} without a box{f', {len(found.skipped)} skipped' if found.skipped else ''}."
    )
    if not boxes:
        out.print("A lower --score shows what the detector is less sure of.")
    out.print(f"Images with boxes, and predictions.json, are in {found.folder}", soft_wrap=True)
