"""The image of a run's predictions over the ground truth.

Each is colored by what is wrong with it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from PIL import Image

from detloss.training.data.dataset import DetectionDataset
from detloss.training.drawing import add_legend, contact_sheet, draw_boxes
from detloss.training.evaluation import Detections
from detloss.training.outcomes import Judged, Outcome, Truth, judge

_LEAST_SCORE = 0.5
"""Detections below this score are not drawn."""
_FEW = 3
"""Most detections of an image with objects, if none reaches that score."""
_SIDE = 480
"""Longer side of each image in pixels."""
_COLUMNS = 3
# The palette of Okabe and Ito, distinct with any kind of color vision.
_COLORS = {
    Outcome.RIGHT: "#009e73",
    Outcome.WRONG_PLACE: "#e69f00",
    Outcome.WRONG_CLASS: "#cc79a7",
    Outcome.DUPLICATE: "#56b4e9",
    Outcome.CROWD: "#999999",
}
_FAULTS = (Outcome.WRONG_PLACE, Outcome.WRONG_CLASS, Outcome.DUPLICATE)
_MISSED, _TRUTH = "#d55e00", "#ffffff"


def draw_predictions(dataset: DetectionDataset, detections: Iterable[Detections], number: int) -> Image.Image:
    """Draw predictions over ground truth, from the worst to the best image.

    Args:
        dataset: The images and their ground truth.
        detections: Their detections; one entry an image, at least one.
        number: Number of images, at least one: evenly spread over all, ordered by quality.
    """
    truths = _truths(dataset)
    scenes = [_scene(found, truths[found.image_id]) for found in detections]
    # An image without objects and detections is right, and shows nothing.
    telling = [scene for scene in scenes if len(scene.found.boxes) or len(scene.truth.boxes)]
    ordered = sorted(
        telling if len(telling) >= number else scenes, key=lambda scene: (scene.judged.quality, scene.found.image_id)
    )
    places = np.linspace(0, len(ordered) - 1, min(number, len(ordered))).round().astype(int)
    chosen = [ordered[place] for place in places]
    sheet = contact_sheet(
        [_drawn(dataset, scene, _SIDE) for scene in chosen], [_title(dataset, scene) for scene in chosen], _COLUMNS
    )
    entries = legend(crowds=any(Outcome.CROWD in scene.judged.outcomes for scene in chosen))
    notes = [
        f"The number is the IoU with the ground truth. Predictions with a score of at least {_LEAST_SCORE:g}.",
        f"{len(chosen)} of {len(scenes)} images, from the worst to the best.",
    ]
    return add_legend(sheet, entries, notes)


def draw_each(
    dataset: DetectionDataset, detections: Iterable[Detections], *, side: int = _SIDE
) -> Iterator[tuple[Image.Image, str]]:
    """Draw predictions over ground truth in each image, with a caption.

    Args:
        dataset: The images and their ground truth.
        detections: The detections in these images.
        side: Longer side of each in pixels.

    Raises:
        DataError: an image cannot be read.
    """
    truths = _truths(dataset)
    for found in detections:
        scene = _scene(found, truths[found.image_id])
        yield _drawn(dataset, scene, side), _words(scene)


def legend(*, crowds: bool) -> list[tuple[str, str, bool]]:
    """The legend: words, CSS color, and if the line is dashed.

    Args:
        crowds: Whether any prediction lies in a crowd.
    """
    entries = [
        (outcome.value, _COLORS[outcome], False) for outcome in Outcome if crowds or outcome is not Outcome.CROWD
    ]
    return [*entries, ("missed object", _MISSED, True), ("other ground truth", _TRUTH, True)]


@dataclass(frozen=True, eq=False)
class _Scene:
    """One image: its objects, its detections, and their outcomes."""

    found: Detections
    truth: Truth
    judged: Judged
    reached: bool
    """Whether any score reached the least one, or there are no objects."""


def _truths(dataset: DetectionDataset) -> defaultdict[int, Truth]:
    entries = defaultdict(list)
    for entry in dataset.coco["annotations"]:
        entries[entry["image_id"]].append(entry)
    truths = {image_id: _truth(each) for image_id, each in entries.items()}
    return defaultdict(lambda: _truth([]), truths)


def _truth(entries: list[dict[str, object]]) -> Truth:
    boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    return Truth(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        np.array([entry["category_id"] for entry in entries], dtype=np.int64),
        np.array([entry["iscrowd"] for entry in entries], dtype=bool),
    )


def _scene(found: Detections, truth: Truth) -> _Scene:
    kept = np.flatnonzero(found.scores >= _LEAST_SCORE)
    reached = bool(len(kept)) or not len(truth.boxes)
    if not reached:
        kept = np.argsort(-found.scores, kind="stable")[:_FEW]
    shown = found.only(kept)
    return _Scene(shown, truth, judge(shown.boxes, shown.scores, shown.labels, truth), reached)


def _title(dataset: DetectionDataset, scene: _Scene) -> str:
    name = PurePath(dataset.coco["images"][scene.found.image_id - 1]["file_name"]).name
    return f"{name}: {_words(scene)}"


def _words(scene: _Scene) -> str:
    counts = Counter(scene.judged.outcomes)
    objects = int((~scene.truth.crowd).sum())
    parts = [f"{counts[Outcome.RIGHT]} of {objects} found" if objects else "no object"]
    parts += [f"{counts[outcome]} {outcome.value}" for outcome in _FAULTS if counts[outcome]]
    if not scene.reached:
        parts[0] = f"scores below {_LEAST_SCORE:g}, best {len(scene.found.boxes)}: {parts[0]}"
    return ", ".join(parts)


def _drawn(dataset: DetectionDataset, scene: _Scene, side: int) -> Image.Image:
    found, truth, judged = scene.found, scene.truth, scene.judged
    missed = [number in judged.missed for number in range(len(truth.boxes))]
    names = dataset.categories
    texts = [
        *(f"{names[label - 1]} {iou:.2f}" for label, iou in zip(found.labels, judged.ious, strict=True)),
        *(f"missed {names[label - 1]}" if lost else "" for label, lost in zip(truth.labels, missed, strict=True)),
    ]
    colors = [
        *(_COLORS[outcome] for outcome in judged.outcomes),
        *(_MISSED if lost else _TRUTH for lost in missed),
    ]
    boxes = [*found.boxes.tolist(), *truth.boxes.tolist()]
    dashed = [False] * len(found.boxes) + [True] * len(missed)
    return draw_boxes(dataset.image(found.image_id - 1), boxes, texts, colors, dashed=dashed, side=side)
