"""Image files as they are found in the wild."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detloss.errors import DataError
from detloss.training.data.images import read_header, read_image

EXIF_ORIENTATION = 0x0112


def turned(path: Path) -> Path:
    """A picture stored as 40 x 30 that its EXIF orientation turns into 30 x 40, red in the stored left half."""
    picture = Image.new("RGB", (40, 30))
    picture.paste((255, 0, 0), (0, 0, 20, 30))
    exif = picture.getexif()
    exif[EXIF_ORIENTATION] = 6  # turn clockwise by 90 degrees
    picture.save(path, exif=exif)
    return path


def test_exif_orientation_follows_the_annotated_size(tmp_path):
    """A picture is turned as its EXIF says, unless only the stored picture has the annotated size."""
    path = turned(tmp_path / "turned.png")
    upright = read_image(path, (30, 40))
    assert upright.shape == (3, 40, 30)
    # Turned clockwise, the stored left half is the upper half.
    assert upright[:, 5, 15].tolist() == [255, 0, 0]
    assert upright[:, 35, 15].tolist() == [0, 0, 0]
    assert read_image(path, (40, 30))[:, 15, 5].tolist() == [255, 0, 0]
    assert read_image(path).shape == (3, 40, 30)
    assert read_header(path).shown == (30, 40)


def test_a_picture_of_another_size_is_refused(tmp_path):
    """A picture that does not have the annotated size is an error with both sizes: its boxes would be wrong."""
    Image.new("RGB", (20, 15)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="is 20 x 15 pixels, but its annotation file says 40 x 30"):
        read_image(tmp_path / "a.png", (40, 30))


def test_a_broken_picture_is_named(tmp_path):
    """A file that is no picture, or half of one, is an error that names it."""
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png cannot be read"):
        read_image(tmp_path / "text.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "half.jpg")
    whole = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.jpg cannot be read"):
        read_image(tmp_path / "half.jpg")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    """Grayscale, palette, transparent and CMYK images become RGB; white stays white."""
    path = tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new("RGB", (8, 6), "white").convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (3, 6, 8)
    assert image.dtype == torch.uint8
    assert image.min() >= 250


def saved(folder: Path, values: Any, dtype: str, suffix: str = "tif") -> Path:
    """A file of 4 x 4 equal gray pixels, or of a row of them repeated."""
    path = folder / f"{dtype}.{suffix}"
    Image.fromarray(np.broadcast_to(np.array(values, dtype=dtype), (4, 4)).copy()).save(path)
    return path


@pytest.mark.parametrize(("dtype", "suffix"), [("uint16", "png"), ("uint16", "tif"), ("uint16", "pgm")])
@pytest.mark.parametrize("value", [0, 1, 255, 256, 32768, 65535])
def test_sixteen_bits_are_divided_by_65535(tmp_path, dtype, suffix, value):
    """A 16-bit image has one scale, whatever its own maximum is, and loses none of its bits."""
    image = read_image(saved(tmp_path, value, dtype, suffix))
    assert image.shape == (3, 4, 4)
    assert image.dtype == torch.float32
    assert image.unique().tolist() == pytest.approx([value / 65535], rel=1e-6)


def test_float_values_in_0_1_are_taken_as_they_are(tmp_path):
    """A float image in [0, 1] is not stretched: a dark one stays dark."""
    image = read_image(saved(tmp_path, [0, 0.125, 0.25, 0.25], "float32"))
    assert image[0, 0].tolist() == [0, 0.125, 0.25, 0.25]
    assert image.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        ([0, 1, 2, 255], "float32", "float32 values from 0 to 255"),
        ([-0.5, 0, 0.5, 1], "float32", "float32 values from -0.5 to 1"),
        ([0, 0, 1, np.nan], "float32", "float32 values from nan to nan"),
        ([0, 0, 1, np.inf], "float32", "float32 values from 0 to inf"),
        ([0, 0, 1, 70000], "int32", "int32 values from 0 to 70000"),
        (0, "int32", "int32 values from 0 to 0"),
        ([-1024, 0, 1, 3071], "int16", "int32 values from -1024 to 3071"),
    ],
)
def test_a_scale_that_is_not_known_is_asked_for(tmp_path, values, dtype, found):
    """Float values beyond [0, 1], NaN, and integers of 32 bits are an error that names `data.pixel_range`."""
    with pytest.raises(DataError, match=rf"{dtype}\.tif has {found}\. Fix: set `data\.pixel_range: \[low, high\]`"):
        read_image(saved(tmp_path, values, dtype))


@pytest.mark.parametrize(
    ("values", "dtype", "pixel_range", "expected"),
    [
        ([0, 1024, 4096, 5000], "uint16", (0, 4096), [0, 0.25, 1, 1]),
        ([-2000, -1024, 0, 3072], "int16", (-1024, 3072), [0, 0, 0.25, 1]),
        ([0, 0, 50, 100], "float32", (0, 100), [0, 0, 0.5, 1]),
        ([0, 0, 50, np.inf], "float32", (0, 100), [0, 0, 0.5, 1]),
        ([0, 64, 128, 255], "uint8", (0, 128), [0, 0.5, 1, 1]),
    ],
)
def test_the_range_that_is_given_counts_for_every_kind_of_image(tmp_path, values, dtype, pixel_range, expected):
    """With `pixel_range` low becomes 0 and high 1, in images of any number of bits; what lies beyond is clipped."""
    assert read_image(saved(tmp_path, values, dtype), pixel_range=pixel_range)[0, 0].tolist() == expected


def test_nan_is_no_pixel_in_any_range(tmp_path):
    """A NaN is an error with `pixel_range` too."""
    with pytest.raises(DataError, match="values from nan"):
        read_image(saved(tmp_path, np.nan, "float32"), pixel_range=(0, 1))


def test_row_39_no_image_starts_a_program(tmp_path):
    """An EPS named .jpg, for which Pillow would start Ghostscript, is an error that names the file."""
    file = tmp_path / "photo.jpg"
    Image.new("RGB", (4, 4)).save(file, format="EPS")
    with pytest.raises(DataError, match=r"photo\.jpg cannot be read: cannot identify"):
        read_image(file)


def test_a_palette_with_transparency_is_read_quietly(tmp_path):
    """A palette whose transparency is a byte a color becomes RGB without a warning."""
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "p.png", transparency=bytes([0, 255]))
    assert read_image(tmp_path / "p.png")[:, 0, 0].tolist() == [255, 0, 0]


def test_a_size_is_read_from_the_head_of_the_file(tmp_path):
    """Width and height are known without decoding: half a file is enough."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:1000])
    assert read_header(tmp_path / "a.jpg").shown == (32, 64)
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        read_header(tmp_path / "none.png")
