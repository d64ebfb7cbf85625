"""`detloss data CONFIG`: what the loader sees of the data of a config, in numbers and as an image."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detloss.cli.extras import needs
from detloss.cli.options import ConfigOrDefault, Overrides
from detloss.errors import DetlossError

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.training.data.survey import SplitSurvey

_BAR = 40
"""Characters of the longest bar of a histogram."""
_IMAGES = (".png", ".jpg", ".jpeg", ".webp")
_MOST_CLASSES = 30
"""Classes that the table shows; --json has all."""


def command(
    config: ConfigOrDefault = None,
    *,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="IMAGE", help="The image that is written.")] = Path(
        "data.png"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, nothing else.")] = False,
) -> None:
    """Show what the loader sees of the data of a config, before you train on it.

    Prints images, boxes and classes of each split, how large the boxes are and of which shape, and what is skipped and
    why. An image shows training images as they are augmented, with their boxes. The model is not built.
    """
    if output.suffix.lower() not in _IMAGES:
        raise typer.BadParameter(f"{output} must end in one of {', '.join(_IMAGES)}.", param_hint="--output")
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        with needs("train", "Reading training data"):
            from detloss.training.data.sources import open_datasets, read_config  # noqa: PLC0415 - help needs none of it
            from detloss.training.data.survey import survey  # noqa: PLC0415
            from detloss.training.data.survey_image import draw_survey  # noqa: PLC0415
            from detloss.training.folder import write_whole  # noqa: PLC0415
        from detloss.cli.output import with_bar  # noqa: PLC0415

        settings = read_config(config, tuple(overrides or ()))
        datasets = open_datasets(settings)
        surveys = {name: survey(each, lambda items: with_bar(items, "Images")) for name, each in datasets.items()}
        image = draw_survey(settings, datasets["train"], surveys["train"])
        replaced = output.exists()
        try:
            write_whole(output, image.save)
        except OSError as error:
            raise DetlossError(f"{output} cannot be written: {error.strerror}. Fix: give another --output.") from error
    if as_json:
        splits = {name: asdict(split) for name, split in surveys.items()}
        print(json.dumps({"splits": splits, "image": str(output.absolute())}, indent=2))
        return
    from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

    out = stdout()
    print_counts(out, surveys)
    _print_skipped(out, surveys)
    print_warnings(out, surveys)
    _print_bars(
        out, "Size of the boxes of train: square root of the area, in pixels of the image", surveys["train"].sizes
    )
    _print_bars(out, "Aspect ratio of the boxes of train: width to height", surveys["train"].aspects)
    what = "augmented training images with their boxes, and these histograms"
    out.print(f"\n{'Replaced' if replaced else 'Written'}: {output} ({what})", soft_wrap=True)


def print_counts(out: Console, surveys: Mapping[str, SplitSurvey]) -> None:
    """Print a table of images, boxes and classes, with a column for each split."""
    from detloss.cli.output import new_table  # noqa: PLC0415 - as in `command`

    table = new_table("")
    for name in surveys:
        table.add_column(name, justify="right")
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
        rows[f"  {len(rest)} other classes"] = [sum(each.classes[name] for name in rest) for each in surveys.values()]
    for name, counts in rows.items():
        if any(counts) or name.startswith("  ") or name == "boxes":
            table.add_row(name, *map(str, counts))
    out.print(table)


def print_warnings(out: Console, surveys: Mapping[str, SplitSurvey]) -> None:
    """Print what looks wrong with the splits, and how images are turned that their EXIF turns."""
    for name, split in surveys.items():
        for warning in split.warnings:
            out.print(f"\nWarning: {warning}")
        turned = split.orientations
        if turned.as_exif_says or turned.as_stored:
            out.print(
                f"\n{name}: the EXIF orientation of {turned.as_exif_says + turned.as_stored} images turns them: "
                f"{turned.as_exif_says} are turned, {turned.as_stored} are taken as stored, since only that has the "
                "annotated size."
            )
        if turned.unknown:
            out.print(
                f"\nWarning: {name}: the EXIF orientation of {len(turned.unknown)} images turns or mirrors them "
                "and leaves their size, so nothing tells which way their boxes were drawn. They are turned as EXIF "
                f"says; look whether their boxes fit. The first: {turned.unknown[0]}"
            )


def _print_skipped(out: Console, surveys: Mapping[str, SplitSurvey]) -> None:
    for name, split in surveys.items():
        if split.skipped:
            out.print(f"\n{name}: {sum(count for count, _ in split.skipped.values())} annotations are skipped:")
            for reason, (count, first) in sorted(split.skipped.items(), key=lambda item: -item[1][0]):
                out.print(f"  {count} x {reason}; the first: {first}")


def _print_bars(out: Console, title: str, counts: Mapping[str, int]) -> None:
    from rich.table import Table  # noqa: PLC0415 - as in `command`

    most = max(1, *counts.values())
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, count in counts.items():
        # Whatever there is, is seen.
        table.add_row(f"  {name}", str(count), "#" * math.ceil(_BAR * count / most))
    out.print(f"\n{title}")
    out.print(table)
