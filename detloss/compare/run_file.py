"""``run.yaml``: what a run of any other program was, written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from detloss.compare.analysis.run_records import rows_of
from detloss.config.document import Document, Notes
from detloss.config.files import expanded, read_document
from detloss.config.specs import validated
from detloss.errors import ConfigError
from detloss.training.data.coco import Annotations, read_annotations
from detloss.training.folder import write_errors, write_text
from detloss.training.settings import absolute

RUN = "run.yaml"
RESULTS = "predictions.json"
GROUND_TRUTH = "ground-truth.json"

Results = Sequence[Mapping[str, Any]]
"""COCO results: mappings with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``."""


class RunFile(BaseModel):
    """The file ``run.yaml`` in the folder of a run."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: str = Field(min_length=1, max_length=60)
    """The arm. Its runs share this name and differ in `seed`."""
    seed: int = Field(ge=0)
    """Runs of one seed are a pair."""
    split: Literal["val", "test"] = "val"
    """`test` if nothing was chosen by these images."""
    ground_truth: str = GROUND_TRUTH
    """COCO file of the images that were judged, relative to the folder."""
    images: str | None = None
    """Folder of these images, relative to the folder; with it the report shows some."""
    model: str = ""
    """The detector in a word, for the report."""
    hours: float | None = Field(None, gt=0)
    """How long the training took, for the report."""
    settings: dict[str, str | int | float | bool | None] = {}
    """What must be equal in all compared runs: `epochs`, `imgsz`, ..."""

    @property
    def arm(self) -> dict[str, Any]:
        """What runs of one arm have in common."""
        return self.model_dump(include={"name", "model", "settings"})


def write_run(
    folder: str | Path,
    *,
    name: str,
    seed: int,
    predictions: Results,
    ground_truth: str | Path,
    images: str | Path | None = None,
    **more: Any,
) -> Path:
    """Write the folder of a run for `detloss compare`.

    Args:
        folder: A new one, or one without these files.
        name: The arm, for example ``"yolo11n ciou"``.
        seed: Of the training. Runs of one seed are a pair.
        predictions: COCO results with the ids of the ground truth: see `from_ultralytics` and `from_transformers`.
        ground_truth: COCO file of the images that were judged. It is copied.
        images: Folder of these images, if the report shall show some.
        **more: Other keys of a `RunFile`: ``split``, ``model``, ``hours``, ``settings``.

    Returns:
        The folder.

    Raises:
        ConfigError: a value is wrong, the predictions are not COCO results, or the folder holds a run already.
        DataError: the ground truth cannot be read, or the predictions are not of its images and categories.
    """
    folder, truth = (Path(expanded(str(path))) for path in (folder, ground_truth))
    given = {"name": name, "seed": seed, **more}
    if images is not None:
        given["images"] = absolute(str(images))
    _checked(Document(given))
    if held := [name for name in (RUN, RESULTS, GROUND_TRUTH) if (folder / name).exists()]:
        raise ConfigError(f"{folder} holds {held[0]} already. Fix: choose another folder.")
    known = read_annotations(truth, None)
    rows_of(predictions, folder, known.image_ids, known.category_ids)
    results = json.dumps([dict(one) for one in predictions], default=lambda number: number.item())  # of numpy and torch
    with write_errors():
        write_text(folder / GROUND_TRUTH, truth.read_text(encoding="utf-8-sig"))
        write_text(folder / RESULTS, results)
        write_text(folder / RUN, yaml.safe_dump(given, sort_keys=False))
    return folder


def read_run(folder: Path) -> RunFile:
    """Read ``run.yaml`` of a folder.

    Raises:
        ConfigError: it is wrong; the error lists every key.
    """
    return _checked(read_document(folder / RUN).as_plain())


def truth_file(folder: Path, run: RunFile) -> Path:
    """The ground truth of a run."""
    return folder / expanded(run.ground_truth)


def read_truth(folder: Path, run: RunFile) -> Annotations:
    """Read the ground truth of a run.

    Raises:
        DataError: it cannot be read.
    """
    return read_annotations(truth_file(folder, run), None)


def _checked(document: Document) -> RunFile:
    notes = Notes(document.as_plain())
    run = validated(RunFile, notes, notes.document.data, (), RUN)
    if notes.findings or run is None:
        raise ConfigError(notes.findings)
    return run
