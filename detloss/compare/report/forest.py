"""The forest plot: each arm's difference to the reference, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from detloss.compare.report.numbers import around, short, signed
from detloss.compare.report.svg import BAND, INK, MUTED, PAPER, ArmStyle, blank, chart_style, inline
from detloss.compare.result import Comparison, Difference

_LABEL, _TEXT = 7.2, 6.3
"""Mean widths of a character in pixels: of a bold label, and of other text."""
_LINE, _TOP, _BOTTOM, _SIDE = 15, 24, 44, 8
"""Heights of a further line of text in a row, of what is above and below the rows; room at the sides."""
_MANY = 6
"""With more rows than these, rows are lower: all are to be seen at once."""
_REACH = 3.0
"""Arms that cannot be best are cut off this far out, in medians of how far the arms lie out."""


def forest(comparison: Comparison, styles: Mapping[str, ArmStyle], width: int) -> Markup:
    """Draw the differences, the largest first.

    Args:
        comparison: With at least one difference that is known.
        styles: Look of each arm.
        width: In pixels.
    """
    differences = sorted(comparison.differences, key=lambda one: -inf if one.estimate is None else one.estimate)[::-1]
    texts = [_text(difference) for difference in differences]
    scale = _Scale(*_limits(comparison), _SIDE, width - _SIDE)
    longest = max(
        len(short(one.arm)) * _LABEL + len(text) * _TEXT for one, text in zip(differences, texts, strict=True)
    )
    wraps, roomy = longest > width - 2 * _SIDE, len(differences) <= _MANY
    row = (50 if roomy else 37) + (_LINE if wraps else 0)
    base = _TOP + row * len(differences)
    with chart_style():
        axes = blank(width, base + _BOTTOM)
        _ground(axes, comparison, scale, base)
        for number, (difference, text) in enumerate(zip(differences, texts, strict=True)):
            label = _TOP + row * number + 14
            axes.text(_SIDE, label, short(difference.arm), weight="bold", size=13)
            line = label + (_LINE if wraps else 0)
            axes.text(_SIDE if wraps else width - _SIDE, line, text, ha="left" if wraps else "right")
            bar, dots = (line + 14, line + 26) if roomy else (line + 10, line + 19)
            _lane(axes, comparison.question.margin, scale, (line + 4, dots + 6))
            _bars(axes, difference, styles[difference.arm].color, scale, bar)
            shown = [scale.place(value) for value in difference.by_seed.values() if scale.holds(value)]
            axes.plot(
                shown, [dots] * len(shown), "o", color=styles[difference.arm].color, markersize=5.5, markeredgewidth=0,
                alpha=0.75,
            )  # fmt: skip
        return inline(axes, f"forest {width}", _alt(comparison, differences, texts))


@dataclass(frozen=True)
class _Scale:
    """Where differences stand, from left to right."""

    low: float
    high: float
    left: float
    right: float

    def place(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.low) / (self.high - self.low)

    def inside(self, value: float) -> float:
        """The place, or the edge that lies before it."""
        return min(max(self.place(value), self.left), self.right)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def _text(difference: Difference) -> str:
    interval = difference.decides
    if difference.estimate is None:
        return "no run to compare"
    if difference.verdict == "identical":
        return "identical at every seed"
    numbers = around(difference.estimate, interval) if interval else signed(difference.estimate)
    return f"{numbers}  {difference.verdict}"


def _limits(comparison: Comparison) -> tuple[float, float]:
    """The shown differences: of possible best arms, without far outliers."""
    margin = comparison.question.margin
    best = {arm.label for arm in comparison.arms if arm.may_be_best}
    ends = {each.arm: _ends(each) for each in comparison.differences if each.estimate is not None}
    usual = _REACH * median(max(map(abs, values)) for values in ends.values())
    core = [end for arm, values in ends.items() if arm in best for end in values] + [-1.5 * margin, 1.5 * margin]
    found = [*core, *(min(max(end, -usual), usual) for values in ends.values() for end in values)]
    low, high = min(found), max(found)
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def _ends(difference: Difference) -> list[float]:
    """All that is drawn of one arm."""
    intervals = [one for one in (difference.training, difference.decides) if one]
    values = [
        difference.estimate,
        *difference.by_seed.values(),
        *(end for one in intervals for end in (one.low, one.high)),
    ]
    return [value for value in values if value is not None]


def _ground(axes: Axes, comparison: Comparison, scale: _Scale, base: float) -> None:
    """The axis, and which side is better."""
    question, zero = comparison.question, scale.place(0)
    axes.plot([scale.left, scale.right], [base, base], color=MUTED, linewidth=0.8)
    width, reference = scale.right + scale.left, short(question.reference, 18)
    for text, x, side, room in (
        (f"\N{LEFTWARDS ARROW} {reference} better", zero - 6, "right", zero),
        (f"better than {reference} \N{RIGHTWARDS ARROW}", zero + 6, "left", width - zero),
    ):
        if len(text) * _TEXT < room:
            axes.text(x, _TOP - 9, text, color=MUTED, size=11, ha=side)
    ticks = MaxNLocator(nbins=max(4, int(width / 90)), steps=[1, 2, 5, 10]).tick_values(scale.low, scale.high)
    for tick in filter(scale.holds, ticks):
        x = scale.place(tick)
        axes.plot([x, x], [base, base + 4], color=MUTED, linewidth=0.8)
        side = "left" if x < 20 else "right" if x > width - 20 else "center"
        digits = 2 if ticks[1] - ticks[0] > 0.0099 else 3
        axes.text(x, base + 16, signed(tick, digits), color=MUTED, size=11, ha=side)
    title = f"difference in {question.metric} to {short(question.reference)}"
    axes.text(width / 2, base + 34, title, color=MUTED, ha="center")


def _lane(axes: Axes, margin: float, scale: _Scale, heights: tuple[float, float]) -> None:
    """Draw zero and the margin next to one arm's bars, without text."""
    axes.fill_between([scale.place(-margin), scale.place(margin)], *heights, color=BAND, linewidth=0)
    axes.plot([scale.place(0)] * 2, heights, color=INK, linewidth=1)


def _bars(axes: Axes, difference: Difference, color: str, scale: _Scale, y: float) -> None:
    """Thin bar, thick bar and estimate of one arm.

    Ends beyond the edges are cut, with an arrow.
    """
    if difference.estimate is None:
        return
    thin, thick = difference.decides, difference.training
    if thin:
        dashes = "-" if difference.full else (0, (3, 2))
        axes.plot([scale.inside(thin.low), scale.inside(thin.high)], [y, y], color=color, linewidth=2, linestyle=dashes)
        for end in filter(scale.holds, (thin.low, thin.high)):
            axes.plot([scale.place(end)] * 2, [y - 5, y + 5], color=color, linewidth=2)
    if thick:
        ends = [scale.inside(thick.low), scale.inside(thick.high)]
        axes.plot(ends, [y, y], color=color, linewidth=8, solid_capstyle="butt")
    x = scale.inside(difference.estimate)
    if scale.holds(difference.estimate):
        axes.plot(x, y, "o", color=PAPER, markersize=9, markeredgecolor=color, markeredgewidth=2.2)
    else:
        axes.plot(x, y, "<" if difference.estimate < scale.low else ">", color=color, markersize=10)


def _alt(comparison: Comparison, differences: Sequence[Difference], texts: Sequence[str]) -> str:
    rows = "; ".join(f"{short(one.arm)}: {text}" for one, text in zip(differences, texts, strict=True))
    return f"Difference in {comparison.question.metric} to {short(comparison.question.reference)}. {rows}."
