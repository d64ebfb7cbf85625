"""What ultralytics and transformers predict, as COCO results of a ground truth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from detloss.config.files import expanded
from detloss.errors import ConfigError, DataError
from detloss.text import clipped, did_you_mean, near, reason
from detloss.training.data.records import read_records


def from_ultralytics(
    predictions: str | Path, ground_truth: str | Path, *, names: Mapping[int, str] | None = None
) -> list[dict[str, Any]]:
    """Give the predictions of ultralytics the ids of a ground truth.

    ultralytics names an image by its file, and a class by its number from 1.

    Args:
        predictions: The ``predictions.json`` that ``model.val(save_json=True)`` writes.
        ground_truth: COCO file of the same images.
        names: ``model.names``. None: the classes have the ids of the ground truth, as for COCO itself.

    Raises:
        ConfigError: the file is not one of ultralytics.
        DataError: an image or a class is not in the ground truth.
    """
    file = Path(expanded(str(predictions)))
    truth = _Truth(Path(expanded(str(ground_truth))))
    try:
        written = json.loads(file.read_bytes())
        found = [(one["file_name"], one["category_id"], one["bbox"], one["score"]) for one in written]
        named = [label if names is None else truth.category(names[label - 1]) for _, label, _, _ in found]
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {reason(error)}. Fix: run `model.val(save_json=True)`.") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is not a predictions.json of ultralytics with these names ({type(error).__name__}: "
            f"{clipped(error)}). Fix: give the file of `model.val(save_json=True)`, and `model.names`."
        ) from None
    return [
        {"image_id": truth.image(name), "category_id": category, "bbox": box, "score": score}
        for (name, _, box, score), category in zip(found, named, strict=True)
    ]


def from_transformers(
    results: Iterable[Mapping[str, Any]],
    file_names: Sequence[str],
    ground_truth: str | Path,
    *,
    names: Mapping[int, str],
) -> list[dict[str, Any]]:
    """Give results of transformers the ids of a ground truth.

    Args:
        results: Of ``post_process_object_detection(outputs, target_sizes=...)``, one an image, in pixels.
        file_names: File name of each image, in the same order.
        ground_truth: COCO file of these images.
        names: ``model.config.id2label``.

    Raises:
        ConfigError: the boxes are not in pixels, or there are more or fewer results than images.
        DataError: an image or a class is not in the ground truth.
    """
    truth = _Truth(Path(expanded(str(ground_truth))))
    each = [{key: found[key].tolist() for key in ("boxes", "labels", "scores")} for found in results]
    if len(each) != len(file_names):
        raise ConfigError(
            f"from_transformers: there is not one result an image (found {len(each)} results and {len(file_names)} "
            "file names). Fix: collect the results of all batches."
        )
    boxes = [box for found in each for box in found["boxes"]]
    if boxes and all(abs(side) <= 2 for box in boxes for side in box):
        raise ConfigError(
            "from_transformers: the boxes look normalized (found sides up to 2, expected pixels). "
            "Fix: give `target_sizes` to post_process_object_detection."
        )
    return [
        {
            "image_id": truth.image(name),
            "category_id": truth.category(_name(names, label)),
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
        }
        for name, found in zip(file_names, each, strict=True)
        for (left, top, right, bottom), label, score in zip(
            found["boxes"], found["labels"], found["scores"], strict=True
        )
    ]


def _name(names: Mapping[int, str], label: int) -> str:
    if label not in names:
        raise ConfigError(
            f"from_transformers: a label has no name (found {label}, expected one of {clipped(list(names))}). "
            "Fix: give `model.config.id2label`."
        )
    return names[label]


class _Truth:
    """Finds ids of a COCO file by names."""

    def __init__(self, file: Path) -> None:
        content = read_records(file)
        self._file = file
        self._images = {_base(image["file_name"]): image["id"] for image in content["images"]}
        self._categories = {entry.get("name", str(entry["id"])): entry["id"] for entry in content["categories"]}
        names = Counter(_base(image["file_name"]) for image in content["images"])
        if twice := [name for name, count in names.items() if count > 1]:
            raise DataError(f"{file}: several images are called {clipped(twice[0])}. Fix: give each its own file name.")

    def image(self, name: str) -> object:
        """The id of an image."""
        try:
            return self._images[_base(name)]
        except KeyError:
            raise DataError(
                f"{self._file} has no image {clipped(name)}. Fix: give the ground truth of these images."
            ) from None

    def category(self, name: str) -> object:
        """The id of a category."""
        try:
            return self._categories[name]
        except KeyError:
            advice = did_you_mean(near(name, self._categories), f"It has {', '.join(self._categories)}.")
            raise DataError(
                f"{self._file} has no category {clipped(name)}{advice} Fix: give both the same names."
            ) from None


def _base(name: str) -> str:
    return PureWindowsPath(name).name  # takes both kinds of slashes
