"""Draws curves, fields and simulations of several losses side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from detloss.errors import DetlossError
from detloss.plot.descent import FIELDS, Field
from detloss.plot.moves import MOVES
from detloss.plot.simulation import RADIUS, Simulation

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""The palette of Okabe and Ito, told apart with any kind of color vision; its yellow is too light for lines."""
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1, 1, 1)), (0, (8, 2)))
_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#d5dae0",
    "legend.frameon": False,
    "savefig.dpi": 110,
    "svg.fonttype": "none",  # text as text: small, and found by a search
    "svg.hashsalt": "detloss",  # the same file each time
}
_DEAD = "#c0392b"
_SHADES = LinearSegmentedColormap.from_list("shades", ["#c6d2dc", "#0072b2", "#0b1f33"])
"""From a weak gradient to a strong one."""
_IN_A_ROW = 3
"""Losses."""


def draw_curves(values: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Draw each loss along each of `MOVES`.

    Args:
        values: Label of a loss -> its values along each of `MOVES`.
    """
    with _styled():
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        for axes, move, place in zip(figure.subplots(1, len(MOVES)), MOVES, range(len(MOVES)), strict=True):
            for (label, each), line in zip(values.items(), _lines(), strict=False):
                axes.plot(move.at, each[place], label=_text(label), **line)
            axes.set(title=move.title, xlabel=move.label, ylabel="loss")
            if float(move.at[0]) > 0:
                axes.set_xscale("log", base=2)
        _legend(figure, axes)
    return figure


def draw_fields(fields: Mapping[str, Mapping[str, Field]]) -> Figure:
    """Draw each field of each loss.

    Arrows go along the descent; crosses are where there is none.

    Args:
        fields: Label of a loss -> name in `FIELDS` -> its field.
    """
    rows, columns = math.ceil(len(fields) / _IN_A_ROW), min(len(fields), _IN_A_ROW)
    with _styled():
        figure = Figure(figsize=(6.4 * columns, 3.5 * rows + 0.6), layout="constrained")
        parts: np.ndarray[Any, Any] = np.asarray(figure.subfigures(rows, columns, squeeze=False))
        for part, (label, each) in zip(parts.flat, fields.items(), strict=False):
            part.suptitle(_text(label), fontweight="bold")
            for axes, (name, what) in zip(part.subplots(1, len(FIELDS)), FIELDS.items(), strict=True):
                _draw_field(axes, each[name])
                axes.set_title(what, fontsize=9)
    return figure


def draw_simulations(simulations: Mapping[str, Simulation]) -> Figure:
    """Draw the error over the iterations, and maps of its end.

    Args:
        simulations: Label of a loss -> its simulation.
    """
    columns = min(len(simulations), 2 * _IN_A_ROW)
    rows = math.ceil(len(simulations) / columns)
    with _styled():
        figure = Figure(figsize=(max(9.0, 2.8 * columns), 4.2 + 2.9 * rows), layout="constrained")
        halves: np.ndarray[Any, Any] = np.asarray(figure.subfigures(2, 1, height_ratios=(4.2, 2.9 * rows)))
        top, bottom = halves.flat
        axes = top.subplots()
        for (label, each), line in zip(simulations.items(), _lines(), strict=False):
            axes.plot(each.error, label=_text(label), **line)
        axes.set(title="Mean error of the boxes", xlabel="iteration", ylabel="|x| + |y| + |w| + |h|", yscale="log")
        _legend(top, axes)
        # One color has one meaning on all maps.
        highest = max(float(each.final.nan_to_num(0, 0, 0).max()) for each in simulations.values())
        edge = 1.06 * RADIUS
        maps = bottom.subplots(rows, columns, squeeze=False)
        for each in np.ravel(maps):
            each.set_axis_off()
        for axes, (label, each) in zip(np.ravel(maps), simulations.items(), strict=False):
            drawn = axes.scatter(*each.points.T, c=each.final, vmin=0, vmax=highest, s=_size(len(each.points)))
            axes.set(title=_text(label), aspect="equal", xlim=(-edge, edge), ylim=(-edge, edge))
        bottom.colorbar(drawn, ax=maps, label="error at the end")
        bottom.suptitle("The error at the end, by where the anchors were")
    return figure


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as SVG and PNG, and return the files.

    Args:
        figure: The figure.
        path: Of both files, without an ending.

    Raises:
        DetlossError: they cannot be written.
    """
    files = [path.with_suffix(ending) for ending in (".svg", ".png")]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _styled():
            for file in files:
                figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except OSError as error:
        raise DetlossError(
            f"{error.filename or path.parent} cannot be written: {error.strerror}. Fix: choose another folder."
        ) from error
    return files


def _draw_field(axes: Axes, found: Field) -> None:
    at, descent = found.at, found.descent
    length = descent.norm(dim=1)
    alive = length > 0
    arrows = descent[alive] / length[alive, None]
    strong = (length[alive] / length[alive].quantile(0.9)).clamp(max=1) if alive.any() else length[alive]
    axes.grid(visible=False)
    axes.quiver(
        *at[alive].T,
        *arrows.T,
        strong,
        cmap=_SHADES,
        pivot="mid",
        scale=5,
        scale_units="xy",
        units="xy",
        width=0.028,
        headwidth=3.6,
        headlength=3.4,
        headaxislength=3.0,
    )
    if found.dead.any():
        axes.plot(*at[found.dead].T, "x", color=_DEAD, markersize=3.5, label="no gradient")
        axes.legend(loc="upper right", fontsize=8, frameon=True)
    axes.plot(0, 0, "o", color="#1b1f25", markersize=4)
    axes.set_aspect("equal")


def _text(label: str) -> str:
    # matplotlib reads what is between dollars as mathematics.
    return label.replace("$", r"\$")


def _size(points: int) -> float:
    return 9000 / points


def _lines() -> Iterator[dict[str, object]]:
    for number, color in enumerate(cycle(COLORS)):
        yield {"color": color, "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.8}


def _legend(figure: Figure | SubFigure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > len(COLORS):
        figure.legend(handles, labels, loc="outside right center", ncols=math.ceil(len(labels) / 20))
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


@contextmanager
def _styled() -> Iterator[None]:
    """Draw independent of your matplotlib settings."""
    with style.context(["default", _STYLE]):
        yield
