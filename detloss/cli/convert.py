"""`detloss convert SOURCE OUTPUT`: labels of other formats as COCO's JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import PATH

if TYPE_CHECKING:
    from detloss.training.data.convert import Converted


@click.command("convert", cls=Command, json="Print the result as JSON, nothing else.")
@click.argument("source", type=PATH, help="The data set: a folder, a data.yaml or an XML file.")
@click.argument("output", type=PATH, help="Folder for the annotation files.")
@click.option("--format", type=click.Choice(["voc", "yolo", "cvat"]), help="Format of SOURCE; guessed by default.")
@click.option("--images", type=PATH, help="Folder of the images, where SOURCE does not lead to them.")
@click.option(
    "--val",
    type=click.FloatRange(min=0, max=0.9),
    default=0.2,
    show_default=True,
    help="Share of the training images for validation, if it has none.",
)
def command(
    source: Path,
    output: Path,
    format: Literal["voc", "yolo", "cvat"] | None,  # noqa: A002 - the option's name
    images: Path | None,
    val: float,
) -> Result:
    """Convert labels from Pascal VOC, YOLO or CVAT to COCO's JSON.

    `detloss train` reads that. OUTPUT gets an annotation file for each split, a config to train with, and an image with
    boxes to look at. Images stay where they are, and nothing is overwritten. Skipped labels are listed in skipped.txt.
    """
    with needs("train", "Converting"):
        from detloss.training.data.convert import convert
    from detloss.cli.output import with_bar

    found = convert(
        source, output, format=format, images=images, val=val, track=lambda items: with_bar(items, "Images")
    )
    return Result(_as_data(found), lambda: _print(found))


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


def _print(found: Converted) -> None:
    from detloss.cli.data import print_counts, print_warnings
    from detloss.cli.output import stdout

    out = stdout()
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
