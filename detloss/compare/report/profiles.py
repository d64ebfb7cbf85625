"""Line charts: AP by IoU threshold, and AP over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from detloss.compare.report.numbers import short, signed
from detloss.compare.report.svg import BAND, INK, ArmStyle, chart_style, framed, inline
from detloss.compare.result import Comparison, RunResult

_WIDTH, _HEIGHT = 360, 230
_REACH = 3.0
"""An arm that lies farther out than so many medians of the arms has a scale of its own."""
Points = Mapping[float, float]


def thresholds(comparison: Comparison, styles: Mapping[str, ArmStyle]) -> list[Markup]:
    """AP by IoU threshold: of all arms, then differences to the reference."""
    arms = {arm.label: {run.seed: _by_iou(run) for run in arm.finished} for arm in comparison.arms}
    reference = comparison.question.reference
    differences = {
        label: [_minus(run, arms[reference][seed]) for seed, run in runs.items() if seed in arms[reference]]
        for label, runs in arms.items()
        if label != reference
    }
    differences = {label: lines for label, lines in differences.items() if any(lines)}
    charts = []
    with chart_style():
        axes = framed(_WIDTH, _HEIGHT)
        axes.set(title="all arms", xlabel="IoU threshold", ylim=(0, 1))
        for label, runs in arms.items():
            _lines(axes, list(runs.values()), styles[label], each=False)
        charts.append(_finished_chart(axes, "thresholds", "AP of each arm at IoU thresholds from 0.50 to 0.95."))
        reach = {label: max(abs(y) for line in lines for y in line.values()) for label, lines in differences.items()}
        usual = _REACH * median(reach.values()) if reach else 0.0
        shared = 1.1 * max([each for each in reach.values() if each <= usual] + [2 * comparison.question.margin])
        for label, lines in differences.items():
            axes = framed(_WIDTH, _HEIGHT)
            axes.set(title=f"{short(label, 30)} minus {short(reference, 20)}", xlabel="IoU threshold")
            # One scale for all, except for an arm that would make all others flat.
            most = shared if reach[label] <= usual else 1.1 * reach[label]
            axes.set_ylim(-most, most)
            axes.yaxis.set_major_formatter(lambda value, _: signed(value, 2))
            axes.axhspan(-comparison.question.margin, comparison.question.margin, color=BAND, linewidth=0)
            axes.axhline(0, color=INK, linewidth=1)
            _lines(axes, lines, styles[label])
            means = "; ".join(f"{x:.2f}: {signed(y)}" for x, y in _mean(lines).items())
            alt = f"Difference in AP of {short(label)} to {short(reference)} by IoU threshold. {means}."
            charts.append(_finished_chart(axes, f"thresholds {label}", alt))
    return charts


def epochs(comparison: Comparison, styles: Mapping[str, ArmStyle]) -> list[Markup]:
    """Validation AP over the epochs, each arm next to the reference."""
    arms = {arm.label: [_curve(run) for run in arm.finished if run.curve] for arm in comparison.arms}
    reference = arms.pop(comparison.question.reference)
    found = {label: lines for label, lines in arms.items() if lines}
    most = max(
        (value for lines in (reference, *found.values()) for line in lines for value in line.values()), default=0
    )
    charts = []
    with chart_style():
        for label, lines in found.items():
            axes = framed(_WIDTH, 260)
            axes.set(title=short(label, 40), xlabel="epoch", ylim=(0, 1.05 * max(most, 0.01)))
            _lines(axes, reference, styles[comparison.question.reference])
            _lines(axes, lines, styles[label])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            alt = f"AP of {short(label)} and of the reference on validation data over the epochs, a line a run."
            charts.append(_finished_chart(axes, f"epochs {label}", alt))
    return charts


def _by_iou(run: RunResult) -> dict[float, float]:
    return {float(key): value for key, value in run.by_iou.items() if value >= 0}


def _curve(run: RunResult) -> Points:
    return {float(epoch): value for epoch, value in run.curve}


def _minus(one: Points, other: Points) -> dict[float, float]:
    return {x: y - other[x] for x, y in one.items() if x in other}


def _mean(lines: Sequence[Points]) -> dict[float, float]:
    """At each place that any line has."""
    return {
        x: float(np.mean([line[x] for line in lines if x in line])) for x in sorted({x for line in lines for x in line})
    }


def _lines(axes: Axes, lines: Sequence[Points], look: ArmStyle, *, each: bool = True) -> None:
    if each and len(lines) > 1:
        for line in lines:
            axes.plot(list(line), list(line.values()), color=look.color, linewidth=0.9, alpha=0.55)
    if lines:
        mean = _mean(lines)
        axes.plot(
            list(mean), list(mean.values()), color=look.color, linewidth=2.4, linestyle=look.dash,
            marker=look.marker, markersize=5,
        )  # fmt: skip


def _finished_chart(axes: Axes, name: str, alt: str) -> Markup:
    axes.set_title(axes.get_title(), loc="left", weight="bold")
    axes.title.set_text("")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="x")
    return inline(axes, name, alt)
