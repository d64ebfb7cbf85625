"""`detloss plot`: images of losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import PATH

if TYPE_CHECKING:
    from detloss.config.specs import ResolvedSpec


@click.command("plot", cls=Command, json="Print the numbers as JSON, nothing else; the images are written too.")
@click.argument("losses", nargs=-1, required=True, help="Names of losses, or specs: '{name: nwd, constant: 70}'.")
@click.option(
    "--only",
    type=click.Choice(["curves", "fields", "simulation"]),
    multiple=True,
    help="Draw this kind of image; repeatable. By default all.",
)
@click.option("--full", is_flag=True, help="Simulate the paper's 1,715,000 boxes instead of 49,735.")
@click.option("--output", "-o", type=PATH, default=Path("plots"), show_default=True, help="Folder for the images.")
def command(losses: tuple[str, ...], only: tuple[str, ...], *, full: bool, output: Path) -> Result:
    """Draw losses side by side, from the code that is installed.

    curves: the value while a prediction slides past its target, grows around it or is stretched. fields: where the
    center and the sides of a prediction go, and where there is no gradient. simulation: boxes go down the gradient, as
    in the DIoU paper (arXiv 1911.08287). Each is written as SVG and PNG.
    """
    from detloss.registry.loading import blamed

    resolved = _resolved(losses)
    with needs("plot", "Drawing losses"):
        from detloss.plot.figures import save
        from detloss.plot.kinds import KINDS
        from detloss.plot.simulation import PAPERS_POINTS, POINTS
    from detloss.cli.output import with_bar

    kinds = only or tuple(KINDS)
    points = PAPERS_POINTS if full else POINTS
    found: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for label, loss in with_bar(resolved.items(), "Losses"):
        built = loss.build()
        with blamed(loss.plugin, "its forward"):
            for kind in kinds:
                found[kind][label] = KINDS[kind].measure(built, points)
    files = [file for kind in kinds for file in save(KINDS[kind].draw(found[kind]), output / kind)]
    data = {label: {kind: KINDS[kind].data(found[kind][label]) for kind in kinds} for label in resolved}
    cells = {
        label: {key: cell for kind in kinds for key, cell in KINDS[kind].cells(found[kind][label]).items()}
        for label in resolved
    }
    return Result({"files": [str(file) for file in files], "losses": data}, lambda: _print(cells, files))


def _resolved(specs: tuple[str, ...]) -> dict[str, ResolvedSpec]:
    """Return each loss by its label, which is what was typed."""
    from detloss.config import check_spec
    from detloss.config.read_yaml import read_yaml
    from detloss.registry import one_scan

    with one_scan():
        return {spec: check_spec(read_yaml(spec).data if spec.lstrip().startswith("{") else spec) for spec in specs}


def _print(cells: Mapping[str, Mapping[str, str]], files: list[Path]) -> None:
    from rich.text import Text

    from detloss.cli.output import new_table, stdout

    out = stdout()
    headings = dict.fromkeys(key for each in cells.values() for key in each)
    if headings:
        table = new_table("loss", numbers=headings)
        for label, each in cells.items():
            table.add_row(Text(label), *(each[key] for key in headings))
        out.print(table)
    out.print("Wrote", *(str(file) for file in files), sep="\n  ", markup=False, highlight=False, soft_wrap=True)
