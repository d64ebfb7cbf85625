"""Decoded images in a file that all runs of a machine share.

The environment variable `VARIABLE` names its folder and turns it on. No config and no result depends on it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from detloss._version import __version__
from detloss.errors import DataError
from detloss.training.data.images import read_image

log = logging.getLogger(__name__)

VARIABLE = "DETLOSS_IMAGE_CACHE"
"""Names the folder; unset or empty, each run decodes its own images."""
_LIMIT = 8 << 30
"""Most bytes of decoded images of one split: beyond main memory, decoding is as fast as reading."""

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class DecodedImages:
    """The images of a data set in one file.

    First the places of all images as int64, then their pixels, row by row.
    """

    file: Path
    places: npt.NDArray[np.int64]
    """The start of each image's pixels; -1 for an image that is unreadable or not of 8 bits."""
    sizes: Sequence[Size]

    def image(self, index: int) -> Tensor | None:
        """Image `index`, from 0, as `read_image` gives it, or None."""
        if self.places[index] < 0:
            return None
        width, height = self.sizes[index]
        # Reads share pages with other processes; a memory map would crash if the file is truncated.
        pixels = np.fromfile(self.file, np.uint8, 3 * width * height, offset=int(self.places[index]))
        return torch.from_numpy(pixels.reshape(height, width, 3)).permute(2, 0, 1)


def decoded_images(files: Sequence[Path], sizes: Sequence[Size]) -> DecodedImages | None:
    """Open the decoded images of a data set; write them if missing.

    Args:
        files: The images.
        sizes: Their annotated sizes.

    Returns:
        None if no folder is named, the images are too large, or the folder cannot be used.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    try:
        folder = Path(named)
        folder.mkdir(parents=True, exist_ok=True)
        if sum(3 * width * height for width, height in sizes) > min(_LIMIT, shutil.disk_usage(folder).free // 2):
            return None
        file = folder / f"{_digest(files, sizes)}.images"
        # A killed process releases the lock, and leaves a part that the next one overwrites.
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                _write(file, files, sizes)
        return DecodedImages(file, np.fromfile(file, np.int64, len(files)), sizes)
    except OSError as error:
        log.warning("Decoded images are not shared between runs: %s cannot be used (%s).", named, error)
        return None


def _digest(files: Sequence[Path], sizes: Sequence[Size]) -> str:
    """A hash that changes with the images or their files."""
    stats = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    content = [__version__, version("pillow"), stats, sizes]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _write(file: Path, files: Sequence[Path], sizes: Sequence[Size]) -> None:
    part = file.with_suffix(".part")
    places = np.full(len(files), -1, np.int64)
    try:
        with part.open("wb") as out:
            out.write(places.tobytes())
            for number, (image, size) in enumerate(zip(files, sizes, strict=True)):
                try:
                    pixels = read_image(image, size)
                except DataError:  # raised again when this image is read
                    continue
                if pixels.dtype == torch.uint8:
                    places[number] = out.tell()
                    out.write(pixels.permute(1, 2, 0).numpy().tobytes())
            out.seek(0)
            out.write(places.tobytes())
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
        raise
