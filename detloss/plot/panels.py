"""Draws one loss, or several, into one pair of axes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from detloss.plot.descent import Field
from detloss.plot.moves import Move
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


def draw_move(axes: Axes, move: Move, values: Mapping[str, Tensor]) -> None:
    """Draw the values of each loss, by label, along a move."""
    for (label, each), line in zip(values.items(), _lines(), strict=False):
        axes.plot(move.at, each, label=text(label), **line)
    axes.set(title=move.title, xlabel=move.label, ylabel="loss")
    if float(move.at[0]) > 0:
        axes.set_xscale("log", base=2)


def draw_field(axes: Axes, found: Field) -> None:
    """Draw a field.

    Arrows go along the descent, crosses are where there is none.
    """
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


def draw_error(axes: Axes, errors: Mapping[str, Tensor]) -> None:
    """Draw the mean error of each simulation, by label, over the iterations."""
    for (label, each), line in zip(errors.items(), _lines(), strict=False):
        axes.plot(each, label=text(label), **line)
    axes.set(title="Mean error of the boxes", xlabel="iteration", ylabel="|x| + |y| + |w| + |h|", yscale="log")


def draw_end(axes: Axes, found: Simulation, highest: float) -> PathCollection:
    """Draw the error at the end by where the anchors were.

    The colors end at `highest`.
    """
    edge, size = 1.06 * RADIUS, 9000 / len(found.points)
    axes.set_axis_off()
    axes.set(aspect="equal", xlim=(-edge, edge), ylim=(-edge, edge))
    x, y = found.points.T
    return axes.scatter(x, y, c=found.final, vmin=0, vmax=highest, s=size)


def text(label: str) -> str:
    """Return a label as matplotlib must get it."""
    # It reads what is between dollars as mathematics.
    return label.replace("$", r"\$")


@contextmanager
def styled() -> Iterator[None]:
    """Draw independent of your matplotlib settings."""
    with style.context(["default", _STYLE]):
        yield


def _lines() -> Iterator[dict[str, Any]]:
    for number, color in enumerate(cycle(COLORS)):
        yield {"color": color, "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.8}
