"""What a trained detector finds in images, and how well."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional

from detloss.errors import ConfigError, DataError
from detloss.models.architecture import REFUSALS
from detloss.text import one_line, printable
from detloss.training.data.datamodule import loading_failure
from detloss.training.data.dataset import CocoDataset, DetectionDataset, collate
from detloss.training.data.images import SUFFIXES, read_image
from detloss.training.data.sources import open_split
from detloss.training.drawing import draw_boxes, label_color
from detloss.training.evaluation import Detections, evaluate_in_detail
from detloss.training.folder import holds_files, sha256, write_errors, write_predictions, write_text, write_whole
from detloss.training.settings import absolute
from detloss.training.trained import Trained

T = TypeVar("T")
Bar = Callable[[Collection[T]], Iterable[T]]
"""Shows the progress of a loop."""

RESULTS = "predictions.json"
_JPEG = {".jpeg", ".jpg"}
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Predicted:
    """The result of `predict`."""

    folder: Path
    """The folder of the images with boxes, and of ``predictions.json``."""
    files: tuple[str, ...]
    """The images that were read."""
    results: tuple[dict[str, Any], ...]
    """COCO results, with ``name`` of the class and ``file_name``. ``image_id`` is the image's place in the order."""
    skipped: dict[str, str]
    """Why a file was skipped."""


def predict(
    trained: Trained,
    paths: Sequence[Path],
    output: Path | None = None,
    *,
    score: float = 0.5,
    bar: Bar[tuple[Path, Path]] = iter,
) -> Predicted:
    """Detect objects in image files; write images and COCO results.

    Args:
        trained: The detector.
        paths: Image files and folders of such, searched with all folders within.
        output: A new or empty folder; by default ``predict-<time>`` in the run's folder.
        score: Detections with a lower score are dropped, in addition to those that the detector drops.
        bar: Shows the progress.

    Raises:
        ConfigError: `output` cannot be written to, or holds files.
        DataError: no image can be read. If some can, the others are skipped.
    """
    files = _image_files(paths)
    folder = _empty_folder(output or trained.checkpoint.parent / f"predict-{datetime.now():%Y%m%d-%H%M%S}")
    model = trained.model.to(_device())
    names, ids = trained.card.class_names, {each.label: each.id for each in trained.card.categories}
    results: list[dict[str, Any]] = []
    read: list[str] = []
    skipped: dict[str, str] = {}
    taken: set[Path] = set()
    for number, (file, place) in enumerate(bar(files), start=1):
        try:
            image = read_image(file, pixel_range=trained.pixel_range)
            (found,) = _detect(model, [image], [number])
            found = found.only(found.scores >= score)
        except DataError as error:
            skipped[str(file)] = str(error)
            continue
        except REFUSALS as error:
            skipped[str(file)] = f"The image {printable(str(file))} cannot be used by the detector: {one_line(error)}."
            continue
        labels = found.labels.tolist()
        texts = [f"{names[label]} {mark:.2f}" for label, mark in zip(labels, found.scores.tolist(), strict=True)]
        drawn = draw_boxes(image, found.boxes.tolist(), texts, [label_color(label) for label in labels])
        _save(drawn, _free(folder / place, taken))
        read.append(str(file))
        results += [
            {**one, "name": names[label], "file_name": str(file)}
            for one, label in zip(found.results(number, ids), labels, strict=True)
        ]
    if not read:
        reasons = "".join(f"\n  {why}" for why in skipped.values())
        raise DataError(f"None of {len(files)} images can be read.{reasons}")
    with write_errors():
        write_text(folder / RESULTS, json.dumps(results, indent=1) + "\n")
    return Predicted(folder, tuple(read), tuple(results), skipped)


def evaluate(
    trained: Trained, data: DetectionDataset, *, output: Path | None = None, bar: Bar[Any] = iter
) -> dict[str, Any]:
    """Measure a detector on annotated images, as COCO does.

    Args:
        trained: The detector.
        data: The images; their categories are those of the detector, by name.
        output: File to which the detections are written as COCO results, with the data set's own ids.
        bar: Shows the progress.

    Returns:
        The result of `evaluate_in_detail`, the checkpoint (``checkpoint``, ``sha256``), ``images`` and ``objects``.

    Raises:
        DataError: the categories differ from those of the detector, or an image cannot be read.
    """
    labels = _labels_in(trained, data)
    model = trained.model.to(_device())
    config = trained.config
    loader = DataLoader(
        data, batch_size=config.train.batch_size, num_workers=config.data.workers, collate_fn=collate, shuffle=False
    )
    detections: list[Detections] = []
    try:
        for images, targets in bar(loader):  # type: ignore[arg-type]  # it has a length
            found = _detect(model, images, [int(target["image_id"]) for target in targets])
            detections += [replace(one, labels=labels[one.labels]) for one in found]
    except Exception as error:
        if failure := loading_failure(error):
            raise DataError(failure) from None
        raise
    if output is not None:
        with write_errors():
            write_predictions(output, detections, data.annotations)
    return {
        "checkpoint": trained.checkpoint.name,
        "sha256": sha256(trained.checkpoint),
        "images": len(data),
        **evaluate_in_detail(data.coco, detections),
    }


def split_of(trained: Trained, split: str | None) -> tuple[str, DetectionDataset]:
    """A split of the run's data, and its name.

    By default ``test`` if there is one, else ``val``.

    Raises:
        ConfigError: the run has no such split.
        DataError: it cannot be read.
    """
    data = trained.config.data
    split = split or ("test" if data.has_test else "val")
    if split == "test" and not data.has_test:
        raise ConfigError(
            f"{trained.checkpoint.parent}: this run has no test data. Fix: choose the split val or train, or give "
            "images and annotations."
        )
    return split, open_split(trained.config, split)


def foreign_data(trained: Trained, images: Path, annotations: Path) -> DetectionDataset:
    """Annotated images that are not of the run.

    Raises:
        DataError: they cannot be read.
    """
    return CocoDataset(
        absolute(str(images)),
        absolute(str(annotations)),
        bbox_check=trained.config.data.bbox_check == "on",
        pixel_range=trained.pixel_range,
    )


def _labels_in(trained: Trained, data: DetectionDataset) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The data set's label of each detector label, by class name."""
    ours, theirs = list(trained.card.class_names.values()), list(data.categories)
    missing, unknown = ([name for name in one if name not in other] for one, other in ((ours, theirs), (theirs, ours)))
    if missing or unknown or len({*ours}) < len(ours):
        lines = [
            f"\n  {what}: {printable(', '.join(found))}"
            for what, found in (
                ("only the detector has", missing),
                ("only the data has", unknown),
                ("twice in the detector", [name for name in {*ours} if ours.count(name) > 1]),
            )
            if found
        ]
        raise DataError(
            f"The categories of the data differ from those of {trained.checkpoint}:{''.join(lines)}\n"
            "Fix: name the categories in the annotation file as in training. List all of them, even without objects."
        )
    return np.array([0, *(theirs.index(name) + 1 for name in ours)])


def _detect(model: nn.Module, images: Sequence[Tensor], ids: Sequence[int]) -> list[Detections]:
    device = next(model.parameters()).device
    with torch.inference_mode():
        outputs = model([functional.to_dtype(image, torch.float32, scale=True).to(device) for image in images])
    return [Detections.from_output(number, output) for number, output in zip(ids, outputs, strict=True)]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _image_files(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each image file, and its place below the output."""
    files: list[tuple[Path, Path]] = []
    for path in paths:
        files += _in_folder(path) if path.is_dir() else [(path, Path(path.name))]
    if not files:
        raise DataError(
            f"There is no image in {', '.join(map(str, paths))}. Fix: give image files, or folders with files that end "
            f"in {', '.join(sorted(SUFFIXES))}."
        )
    return files


def _in_folder(folder: Path) -> Iterator[tuple[Path, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield file, file.relative_to(folder)


def _empty_folder(folder: Path) -> Path:
    folder = Path(absolute(str(folder)))
    if folder.exists() and (not folder.is_dir() or holds_files(folder)):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise ConfigError(f"{folder} {what}. Fix: choose another output folder.")
    return folder


def _free(place: Path, taken: set[Path]) -> Path:
    """An unused path for an image: JPEG for a JPEG, else PNG."""
    place = place if place.suffix.lower() in _JPEG else place.with_suffix(".png")
    number, free = 1, place
    while free in taken:
        number += 1
        free = place.with_stem(f"{place.stem}-{number}")
    taken.add(free)
    return free


def _save(image: Image.Image, place: Path) -> None:
    options: dict[str, Any] = {"quality": _JPEG_QUALITY} if place.suffix.lower() in _JPEG else {}
    with write_errors():
        write_whole(place, lambda part: image.save(part, **options))
