"""`detloss data CONFIG`: the data as the training will see it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import PATH, config_or_default, overrides
from detloss.errors import DetlossError
from detloss.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.training.data.survey import SplitSurvey

_BAR = 40
"""Characters of the longest bar of a histogram."""
_IMAGES = (".png", ".jpg", ".jpeg", ".webp")
_MOST_CLASSES = 30
"""Classes that the table shows; --json has all."""


@click.command("data", cls=Command, json="Print the numbers as JSON, nothing else.")
@config_or_default
@overrides
@click.option(
    "--output",
    "-o",
    type=PATH,
    metavar="IMAGE",
    default=Path("data.png"),
    show_default=True,
    help="The image that is written.",
)
def command(config: Path | None, overrides: tuple[str, ...], output: Path) -> Result:
    """Show the data of a config as the training will see it.

    Prints images, boxes and classes of each split, the sizes and shapes of the boxes, and what is skipped and why. An
    image shows augmented training images with their boxes. The model is not built.
    """
    if output.suffix.lower() not in _IMAGES:
        raise click.BadParameter(f"{output} must end in one of {', '.join(_IMAGES)}.", param_hint="--output")
    with needs("train", "Reading training data"):
        from detloss.training.data.sources import open_datasets, read_config
        from detloss.training.data.survey import survey
        from detloss.training.data.survey_image import draw_survey
        from detloss.training.folder import write_whole
    from detloss.cli.output import with_bar

    settings = read_config(config, overrides)
    datasets = open_datasets(settings)
    surveys = {name: survey(each, lambda items: with_bar(items, "Images")) for name, each in datasets.items()}
    image = draw_survey(settings, datasets["train"], surveys["train"])
    replaced = output.exists()
    try:
        write_whole(output, image.save)
    except OSError as error:
        raise DetlossError(f"{output} cannot be written: {error.strerror}. Fix: give another --output.") from error
    return Result(
        {"splits": {name: asdict(split) for name, split in surveys.items()}, "image": str(output.absolute())},
        lambda: _print(surveys, output, replaced=replaced),
    )


def print_counts(out: Console, surveys: Mapping[str, SplitSurvey]) -> None:
    """Print the numbers of images, boxes and classes of each split."""
    from detloss.cli.output import new_table

    table = new_table("", numbers=surveys)
    rows: dict[str, list[int]] = {
        "images": [each.images for each in surveys.values()],
        "images without boxes": [each.background for each in surveys.values()],
        "crowds": [each.crowds for each in surveys.values()],
        "boxes": [each.boxes for each in surveys.values()],
    }
    classes = next(iter(surveys.values())).classes
    most = sorted(classes, key=lambda name: -sum(each.classes[name] for each in surveys.values()))
    shown = most if len(most) <= _MOST_CLASSES else most[: _MOST_CLASSES - 1]
    for name in shown:
        rows[f"  {name}"] = [each.classes[name] for each in surveys.values()]
    if rest := most[len(shown) :]:
        rows[f"  {counted(len(rest), 'other class')}"] = [
            sum(each.classes[name] for name in rest) for each in surveys.values()
        ]
    for name, counts in rows.items():
        if any(counts) or name.startswith("  ") or name == "boxes":
            table.add_row(name, *map(str, counts))
    out.print(table)


def print_warnings(out: Console, surveys: Mapping[str, SplitSurvey]) -> None:
    """Print what looks wrong with the splits, and what EXIF turns."""
    for name, split in surveys.items():
        for warning in split.warnings:
            out.print(f"\nWarning: {warning}")
        turned = split.orientations
        if turned.as_exif_says or turned.as_stored:
            images = counted(turned.as_exif_says + turned.as_stored, "image")
            out.print(
                f"\n{name}: {images} with an EXIF orientation: {turned.as_exif_says} turned, {turned.as_stored} taken "
                "as stored, since only that has the annotated size."
            )
        if turned.unknown:
            images = counted(len(turned.unknown), "image")
            out.print(
                f"\nWarning: {name}: {images} with an EXIF orientation that keeps the size, so "
                "nothing tells which way the boxes were drawn. detloss turns as EXIF says. Fix: look whether the boxes "
                f"fit. The first: {turned.unknown[0]}"
            )


def _print(surveys: Mapping[str, SplitSurvey], output: Path, *, replaced: bool) -> None:
    from detloss.cli.output import stdout

    out = stdout()
    print_counts(out, surveys)
    _print_skipped(out, surveys)
    print_warnings(out, surveys)
    train = surveys["train"]
    _print_bars(out, "Size of the boxes of train: square root of the area, in pixels of the image", train.sizes)
    _print_bars(out, "Aspect ratio of the boxes of train: width to height", train.aspects)
    what = "augmented training images with their boxes, and these histograms"
    out.print(f"\n{'Replaced' if replaced else 'Written'}: {output} ({what})", soft_wrap=True)


def _print_skipped(out: Console, surveys: Mapping[str, SplitSurvey]) -> None:
    for name, split in surveys.items():
        if split.skipped:
            out.print(f"\n{name}: {counted(sum(count for count, _ in split.skipped.values()), 'annotation')} skipped:")
            for reason, (count, first) in sorted(split.skipped.items(), key=lambda item: -item[1][0]):
                out.print(f"  {count} x {reason}; the first: {first}")


def _print_bars(out: Console, title: str, counts: Mapping[str, int]) -> None:
    from rich.table import Column, Table

    most = max(1, *counts.values())
    table = Table.grid("", Column(justify="right"), "", padding=(0, 2))
    for name, count in counts.items():
        # Whatever there is, is seen.
        table.add_row(f"  {name}", str(count), "#" * math.ceil(_BAR * count / most))
    out.print(f"\n{title}")
    out.print(table)
