"""SVG text for a page: small, repeatable, in the page's colors."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detloss.plot.panels import COLORS

INK, MUTED, LINE, BAND, PAPER, REFERENCE = "#1b1f25", "#59636f", "#d5dae0", "#e9edf1", "#fefefe", "#7d858e"
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.5)))
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BAND: "--band",
    PAPER: "--paper",
    REFERENCE: "--reference",
} | {color: f"--arm-{number}" for number, color in enumerate(COLORS, start=1)}
"""Color in a chart -> variable of the page's style sheet, which has a value for light and one for dark."""
_SIZE = 12.0
_STYLE = {
    "svg.fonttype": "none",  # text as text: small, and in the page's font
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,  # a label may hold dollars
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "font.size": _SIZE,
    "axes.labelsize": _SIZE,
    "axes.titlesize": _SIZE,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}


@dataclass(frozen=True)
class ArmStyle:
    """How an arm looks in all charts."""

    color: str
    marker: str = "o"
    dash: str | tuple[int, tuple[float, float]] = "-"

    @property
    def variable(self) -> str:
        """The page's variable of its color."""
        return VARIABLES[self.color]


def arm_styles(labels: Sequence[str], reference: str) -> dict[str, ArmStyle]:
    """Return each arm's look by label: the reference is gray.

    All others differ in color, marker or dashes.
    """
    others = [label for label in labels if label != reference]
    styles = {
        label: ArmStyle(COLORS[number % 6], _MARKERS[(number + number // 6) % 6], _DASHES[number // 6 % 3])
        for number, label in enumerate(others)
    }
    return styles | {reference: ArmStyle(REFERENCE)}


@contextmanager
def chart_style() -> Iterator[None]:
    """Draw in the page's style, independent of your matplotlib settings."""
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # The browser has a font for what matplotlib's has no glyph for.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def blank(width: float, height: float) -> Axes:
    """Axes in pixels from the upper left corner, without own drawing."""
    axes = Figure((width / 72, height / 72)).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def framed(
    width: float, height: float, *, left: float = 46, right: float = 12, top: float = 26, bottom: float = 40
) -> Axes:
    """Axes in a figure, with room around them; all sizes are pixels."""
    place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    return Figure((width / 72, height / 72)).add_axes(place)


def inline(axes: Axes, name: str, alt: str) -> Markup:
    """The figure of some axes as an element of the page.

    Args:
        axes: Drawn within `chart_style`.
        name: Keeps its ids apart from those of other charts.
        alt: What it shows, for who cannot see it.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    buffer = io.StringIO()
    with style.context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for unused in (
        r"<metadata>.*?</metadata>\s*",
        r"<style.*?</style>\s*",  # it would hold for the whole page
        r' id="[A-Za-z0-9.]+_\d+"',  # those of groups are the same in each chart, and nothing refers to them
    ):
        text = re.sub(unused, "", text, flags=re.DOTALL)
    text = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda color: f"var({VARIABLES[color[0]]})", text)
    text = text.replace("font-family: 'DejaVu Sans', sans-serif", "font-family: inherit")
    size = re.match(r"<svg[^>]*viewBox=\"0 0 ([\d.]+) ([\d.]+)\"", text)
    assert size
    head = (
        f'<svg class="chart" role="img" aria-label="{escape(alt)}" viewBox="0 0 {size[1]} {size[2]}" '
        f'style="max-width: {1.3 * float(size[1]):.0f}px" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head + text[text.index(">") + 1 :])  # matplotlib escapes what it draws
