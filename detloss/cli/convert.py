"""`detloss convert SOURCE OUTPUT`: labels of Pascal VOC, YOLO or CVAT as COCO's JSON, checked after writing."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detloss.cli.extras import needs

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.training.data.convert import Converted


def command(
    source: Annotated[
        Path, typer.Argument(help="The data set: a folder, a data.yaml or an XML file.", metavar="SOURCE")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the annotation files.", metavar="OUTPUT")],
    *,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["voc", "yolo", "cvat"] | None,
        typer.Option("--format", help="Format of SOURCE; left out, it is guessed.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the images, where SOURCE does not lead to them.", show_default=False),
    ] = None,
    val: Annotated[
        float,
        typer.Option("--val", min=0, max=0.9, help="Share of the training images for validation, if it has none."),
    ] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Convert labels from Pascal VOC, YOLO or CVAT to COCO's JSON, which `detloss train` reads.

    OUTPUT gets an annotation file for each split, a config to train with, and an image with boxes to look at. Images
    stay where they are, and nothing is overwritten. What is skipped is counted, and listed in skipped.txt.
    """
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        with needs("train", "Converting"):
            from detloss.training.data.convert import convert  # noqa: PLC0415 - help needs none of it
        from detloss.cli.output import with_bar  # noqa: PLC0415

        found = convert(
            source, output, format=format, images=images, val=val, track=lambda items: with_bar(items, "Images")
        )
    if as_json:
        print(json.dumps(_as_data(found), indent=2))
        return
    from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

    _print(stdout(), found)


def _as_data(found: Converted) -> dict[str, Any]:
    splits = {
        name: {"annotations": str(found.files[name]), "folder": str(found.images[name]), **asdict(split)}
        for name, split in found.splits.items()
    }
    return {
        "format": found.format,
        "output": str(found.output),
        "splits": splits,
        "skipped": [asdict(each) for each in found.skipped],
        "notes": found.notes,
        "config": found.config and str(found.config),
        "image": str(found.image),
    }


def _print(out: Console, found: Converted) -> None:
    from detloss.cli.data import print_counts, print_warnings  # noqa: PLC0415 - as in `command`

    names = {"voc": "Pascal VOC", "yolo": "YOLO", "cvat": "CVAT for images"}
    out.print(f"Read as {names[found.format]}; written, and read back as `detloss train` does:\n")
    print_counts(out, found.splits)
    for note in found.notes:
        out.print(f"\n{note}")
    print_warnings(out, found.splits)
    if found.skipped:
        out.print(f"\nSkipped: {len(found.skipped)}, all in {found.output / 'skipped.txt'}", soft_wrap=True)
        firsts = {each.reason: each for each in reversed(found.skipped)}
        for reason, count in Counter(each.reason for each in found.skipped).most_common():
            out.print(f"  {count} x {reason}; the first: {firsts[reason].where}")
    out.print(f"\nWritten to {found.output}:", soft_wrap=True)
    meanings = {file.name: f"annotations; images in {found.images[name]}" for name, file in found.files.items()}
    meanings[found.image.name] = "an image of each split with its boxes: look whether they are right"
    if found.config:
        meanings[found.config.name] = "a config to start from"
    for file, meaning in meanings.items():
        out.print(f"  {file:<12} {meaning}", soft_wrap=True)
    if found.config:
        out.print("\nTrain with:")
        out.print(f"  detloss train {shlex.quote(str(found.config))}", soft_wrap=True)
    else:
        out.print("\nThere is no config: training needs the splits train and val.")
