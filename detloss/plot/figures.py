"""Draws curves, fields and simulations of several losses side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from detloss.errors import DetlossError
from detloss.plot.descent import FIELDS, Field
from detloss.plot.moves import MOVES
from detloss.plot.panels import COLORS, draw_end, draw_error, draw_field, draw_move, styled, text
from detloss.plot.simulation import Simulation

_IN_A_ROW = 3
"""Losses."""


def draw_curves(values: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Draw each loss along each of `MOVES`.

    Args:
        values: Label of a loss -> its values along each of `MOVES`.
    """
    with styled():
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        for place, (axes, move) in enumerate(zip(figure.subplots(1, len(MOVES)), MOVES, strict=True)):
            draw_move(axes, move, {label: each[place] for label, each in values.items()})
        _legend(figure, axes)
    return figure


def draw_fields(fields: Mapping[str, Mapping[str, Field]]) -> Figure:
    """Draw each field of each loss.

    Args:
        fields: Label of a loss -> name in `FIELDS` -> its field.
    """
    rows, columns = math.ceil(len(fields) / _IN_A_ROW), min(len(fields), _IN_A_ROW)
    with styled():
        figure = Figure(figsize=(6.4 * columns, 3.5 * rows + 0.6), layout="constrained")
        parts: np.ndarray[Any, Any] = np.asarray(figure.subfigures(rows, columns, squeeze=False))
        for part, (label, each) in zip(parts.flat, fields.items(), strict=False):
            part.suptitle(text(label), fontweight="bold")
            for axes, (name, what) in zip(part.subplots(1, len(FIELDS)), FIELDS.items(), strict=True):
                draw_field(axes, each[name])
                axes.set_title(what, fontsize=9)
    return figure


def draw_simulations(simulations: Mapping[str, Simulation]) -> Figure:
    """Draw the error over the iterations, and maps of its end.

    Args:
        simulations: Label of a loss -> its simulation.
    """
    columns = min(len(simulations), 2 * _IN_A_ROW)
    rows = math.ceil(len(simulations) / columns)
    with styled():
        figure = Figure(figsize=(max(9.0, 2.8 * columns), 4.2 + 2.9 * rows), layout="constrained")
        halves: np.ndarray[Any, Any] = np.asarray(figure.subfigures(2, 1, height_ratios=(4.2, 2.9 * rows)))
        top, bottom = halves.flat
        axes = top.subplots()
        draw_error(axes, {label: each.error for label, each in simulations.items()})
        _legend(top, axes)
        # One color has one meaning on all maps.
        highest = max(float(each.final.nan_to_num(0, 0, 0).max()) for each in simulations.values())
        maps = bottom.subplots(rows, columns, squeeze=False)
        for unused in maps.flat[len(simulations) :]:
            unused.set_axis_off()
        for axes, (label, each) in zip(maps.flat, simulations.items(), strict=False):
            drawn = draw_end(axes, each, highest)
            axes.set_title(text(label))
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
        with styled():
            for file in files:
                figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except OSError as error:
        raise DetlossError(
            f"{error.filename or path.parent} cannot be written: {error.strerror}. Fix: choose another folder."
        ) from error
    return files


def _legend(figure: Figure | SubFigure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > len(COLORS):
        figure.legend(handles, labels, loc="outside right center", ncols=math.ceil(len(labels) / 20))
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
