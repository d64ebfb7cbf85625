"""Chooses the shown test images: those that differ most, and random ones."""

from __future__ import annotations

from typing import Literal

import numpy as np

from detloss.compare.analysis.grid import Floats, Grid
from detloss.compare.analysis.measures import qualities
from detloss.compare.analysis.run_records import Records
from detloss.compare.result import ImagePair

_EACH = 3
"""Images of each kind."""
_JUDGED = 1000
"""Images at most that are looked at: random ones of a larger split."""


def choose_image_pairs(records: Records, grid: Grid, reference: int) -> tuple[ImagePair, ...]:
    """Choose images by panoptic quality of the best arm and the reference.

    These are means over their seeds.
    """
    means = {arm: mean for arm in range(len(grid.labels)) if (mean := grid.mean(arm)) is not None}
    others = [arm for arm in means if arm != reference]
    if reference not in means or not others:
        return ()
    best = max(others, key=means.__getitem__)
    names = {image["id"]: str(image["file_name"]) for image in records.truth["images"]}
    random = np.random.default_rng(0)
    images = sorted(random.permutation(sorted(names))[:_JUDGED].tolist())
    gain = np.round(_quality(records, grid, images, best) - _quality(records, grid, images, reference), 6)
    ranked = np.argsort(-gain, kind="stable").tolist()
    most = [place for place in ranked[:_EACH] if gain[place] > 0]
    least = [place for place in ranked[::-1][:_EACH] if gain[place] < 0]
    rest = [place for place in random.permutation(len(images)).tolist() if place not in (*most, *least)]
    kinds: tuple[tuple[Literal["first better", "second better", "random"], list[int]], ...] = (
        ("first better", most),
        ("second better", least),
        ("random", rest[:_EACH]),
    )
    return tuple(
        ImagePair(
            image_id=images[place],
            file_name=names[images[place]],
            arms=(grid.labels[best], grid.labels[reference]),
            difference=float(gain[place]),
            chosen=kind,
        )
        for kind, places in kinds
        for place in places
    )


def _quality(records: Records, grid: Grid, images: list[int], arm: int) -> Floats:
    own = [found for (label, _), found in grid.finished.items() if label == grid.labels[arm]]
    return np.asarray(np.mean([qualities(records.truth, images, found.rows) for found in own], axis=0))
