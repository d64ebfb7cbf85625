"""A trained detector as a file without detloss, tested by running."""

from __future__ import annotations

import copy
import json
import runpy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from detloss.errors import ConfigError, DataError, DetlossError
from detloss.models.recipe import torchvision_code
from detloss.training.data.images import read_image
from detloss.training.data.sources import open_split
from detloss.training.folder import write_errors, write_text, write_whole
from detloss.training.trained import Trained

Format = Literal["state_dict", "onnx"]
_SUFFIX = {"state_dict": ".pth", "onnx": ".onnx"}
_OPSET = 18
_TRIED = 50
"""Most images that are searched for one with a detection."""
_COMPARED = 50
"""Best detections of an image that must be equal: further down the list, rounding decides."""
_PIXELS, _SCORE = 0.1, 1e-3
"""Largest differences of boxes and scores."""

Run = Callable[[Tensor], Mapping[str, Any]]
"""From an image, float32 in [0, 1], to its detections."""


@dataclass(frozen=True)
class Exported:
    """The files of `export`, and their check."""

    files: tuple[Path, ...]
    """The weights or the model; for a state dict also the code that loads it."""
    image: str
    """The image of the check."""
    detections: int
    """Number of its detections, by the trained detector and by the export."""
    pixels: float
    """Largest difference of the two in the coordinates of boxes."""
    score: float
    """Largest difference in scores."""


def export(trained: Trained, kind: Format, output: Path | None = None, image: Path | None = None) -> Exported:
    """Write a detector to a file and compare both on an image.

    Args:
        trained: The detector.
        kind: ``state_dict`` of torchvision's own class, with a Python file that loads it; or ``onnx``.
        output: The file, by default ``model.pth`` or ``model.onnx`` in the run's folder; it is replaced.
        image: The image of the check; by default the first of the run's data with a detection.

    Raises:
        DetlossError: the detector finds nothing, the two differ (then the files are removed), or a file cannot be
            written.
    """
    path = output or trained.checkpoint.with_name(f"model{_SUFFIX[kind]}")
    if path.suffix != _SUFFIX[kind]:
        raise ConfigError(f"{path}: wrong suffix (expected {_SUFFIX[kind]}). Fix: choose another output.")
    model = trained.model
    name, pixels, found = _image_with_detections(trained, image)
    with write_errors():
        files = _state_dict(trained, path) if kind == "state_dict" else _onnx(trained, path, pixels, list(found))
    run = _plain(files[1]) if kind == "state_dict" else _runtime(files[0], list(found))
    # Another size too: the export must not depend on one size.
    tried = [pixels, functional.resize(pixels, [pixels.shape[-2] * 3 // 4, pixels.shape[-1]], antialias=True)]
    differences = [_difference(_detect(model, one), run(one)) for one in tried]
    box, score = map(max, zip(*differences, strict=True))
    if not (box <= _PIXELS and score <= _SCORE):
        for file in files:
            file.unlink()
        raise DetlossError(
            f"{path} does not find the same as {trained.checkpoint} in {name} (boxes differ by up to {box:.3g} pixels, "
            f"scores by {score:.3g}). It was removed. Fix: report it with the versions that `detloss doctor` prints."
        )
    return Exported(tuple(files), name, len(found["boxes"]), box, score)


def _state_dict(trained: Trained, path: Path) -> list[Path]:
    state = {key: value.detach().cpu().contiguous() for key, value in trained.model.state_dict().items()}
    write_whole(path, lambda part: torch.save(state, part))
    code = path.with_suffix(".py")
    text = _CODE.format(
        weights=path.name,
        module=code.stem,
        names=trained.card.class_names,
        code=torchvision_code(trained.config, trained.model),
        range=trained.card.preprocessing.pixel_range or "0 and 255 of 8 bits, 0 and 65535 of 16",
    )
    write_text(code, text)
    return [path, code]


_CODE = '''"""A trained detector in plain torchvision; {weights} is next to this file.

    from {module} import CLASS_NAMES, model

    (found,) = model([image])  # RGB, (3, H, W), float32 in [0, 1], upright
    found["boxes"], found["scores"], [CLASS_NAMES[label] for label in found["labels"].tolist()]

Values in image files that become 0 and 1: {range}.
"""

from pathlib import Path

import torch
{code}
model.load_state_dict(torch.load(Path(__file__).with_name({weights!r}), map_location="cpu", weights_only=True))
model.eval()

CLASS_NAMES = {names!r}
'''


def _plain(code: Path) -> Run:
    model: nn.Module = runpy.run_path(str(code))["model"]
    return lambda image: _detect(model, image)


def _onnx(trained: Trained, path: Path, image: Tensor, names: Sequence[str]) -> list[Path]:
    import onnx  # noqa: PLC0415 - of the extra `export`

    sizes = {"image": {1: "height", 2: "width"}} | {name: {0: "detections"} for name in names}
    if "masks" in names:
        sizes["masks"] |= {2: "height", 3: "width"}

    def write(part: Path) -> None:
        with warnings.catch_warnings():
            # Tracing warns of every Python number that becomes a constant; torchvision is made for that.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                copy.deepcopy(trained.model),
                ([image],),
                part,
                dynamo=False,
                input_names=["image"],
                output_names=names,
                dynamic_axes=sizes,
                opset_version=_OPSET,
            )
        model = onnx.load(part)
        card = trained.card.model_dump()
        for key in ("categories", "preprocessing"):
            model.metadata_props.add(key=key, value=json.dumps(card[key]))
        onnx.save(model, part)

    write_whole(path, write)
    return [path]


def _runtime(path: Path, names: Sequence[str]) -> Run:
    import onnxruntime  # noqa: PLC0415 - of the extra `export`

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: dict(zip(names, session.run(None, {"image": image.numpy()}), strict=True))


def _detect(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        found: dict[str, Tensor] = model([image])[0]
    return found


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[float, float]:
    """The largest difference of the best detections to the others.

    Each is compared with those of its label, in pixels and in score.
    """
    (boxes, scores, labels), (others, other_scores, other_labels) = (
        [np.asarray(one[key], dtype=np.float64) for key in ("boxes", "scores", "labels")] for one in (expected, found)
    )
    if len(boxes) != len(others):
        return np.inf, np.inf
    if not len(boxes):
        return 0.0, 0.0
    best = slice(_COMPARED)
    apart = np.abs(boxes[best, None] - others[None]).max(-1)
    apart[labels[best, None] != other_labels[None]] = np.inf
    nearest = apart.argmin(1)
    return float(apart.min(1).max()), float(np.abs(scores[best] - other_scores[nearest]).max())


def _image_with_detections(trained: Trained, image: Path | None) -> tuple[str, Tensor, Mapping[str, Tensor]]:
    """An image in which the detector finds something: name, image, detections."""
    tried = 0
    for name, pixels in islice(_candidates(trained, image), _TRIED):
        tried += 1
        scaled = functional.to_dtype(pixels, torch.float32, scale=True).as_subclass(Tensor)
        found = _detect(trained.model, scaled)
        if len(found["boxes"]):
            return name, scaled, found
    where = image or f"{tried} images of the run's data"
    raise DetlossError(
        f"{trained.checkpoint} finds nothing in {where}, so the export cannot be checked. Fix: name an image in "
        "which it finds something (--image)."
    )


def _candidates(trained: Trained, image: Path | None) -> Iterator[tuple[str, Tensor]]:
    if image is not None:
        yield str(image), read_image(image, pixel_range=trained.pixel_range)
        return
    for split, word in (("val", "validation"), ("train", "training")):
        try:
            data = open_split(trained.config, split)
        except DataError as error:
            raise DataError(f"{error}\nTo check the export on another image, name it (--image).") from error
        for index in range(len(data)):
            yield f"{data.coco['images'][index]['file_name']} of the {word} data", data.image(index)
