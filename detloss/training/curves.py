"""The curves of a run: losses and AP over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_POINTS = 200
"""Most points of a curve: each is the mean of the steps around it."""
_NO_LOSSES = frozenset({"train/lr", "train/skipped"})
_SCORES = ("val/AP", "val/AP50", "val/AP75")


def draw_curves(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the lines of ``metrics.jsonl``: losses left, AP right.

    Args:
        lines: At least one evaluation among them.
        path: The PNG file.
    """
    steps = [(line["step"], line["epoch"]) for line in lines if "val/AP" in line]
    ends, epochs = (np.array([0, *each], dtype=float) for each in zip(*steps, strict=True))

    def plot(axes: Axes, key: str, points: int, *, wide: bool) -> None:
        found = np.array([(line["step"], line[key]) for line in lines if line.get(key) is not None], dtype=float)
        if len(found):
            means = np.array([part.mean(axis=0) for part in np.array_split(found, min(len(found), points))])
            x, marker = np.interp(means[:, 0], ends, epochs), "" if key.startswith("train/") else "o"
            axes.plot(x, means[:, 1], label=key, linewidth=2 if wide else 1, marker=marker, markersize=4)

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    keys = dict.fromkeys(key for line in lines for key in line if key.startswith("train/") or key == "val/loss")
    for key in [key for key in keys if key not in _NO_LOSSES]:
        plot(losses, key, _POINTS, wide=key.endswith("/loss"))
    for key in _SCORES:
        plot(scores, key, len(lines), wide=key == "val/AP")
    scores.set_ylim(0, 1.02)
    for axes, title in ((losses, "losses"), (scores, "average precision")):
        axes.set(title=title, xlabel="epoch", xlim=(0, 1.02 * max(epochs[-1], 1)))  # shows the last points completely
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    values = [value for line in losses.lines for value in np.asarray(line.get_ydata(), dtype=float)]
    if min(values, default=0) > 0:
        losses.set_yscale("log")
    figure.savefig(path, dpi=100)
