"""Image files as they are found in the wild."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detloss.errors import DataError
from detloss.training.data.images import read_picture

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
    upright = read_picture(path, (30, 40))
    assert upright.size == (30, 40)
    # Turned clockwise, the stored left half is the upper half.
    assert upright.getpixel((15, 5)) == (255, 0, 0)
    assert upright.getpixel((15, 35)) == (0, 0, 0)
    assert read_picture(path, (40, 30)).getpixel((5, 15)) == (255, 0, 0)
    assert read_picture(path).size == (30, 40)


def test_a_picture_of_another_size_is_refused(tmp_path):
    """A picture that does not have the annotated size is an error with both sizes: its boxes would be wrong."""
    Image.new("RGB", (20, 15)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="is 20 x 15 pixels, but its annotation file says 40 x 30"):
        read_picture(tmp_path / "a.png", (40, 30))


def test_a_broken_picture_is_named(tmp_path):
    """A file that is no picture, or half of one, is an error that names it."""
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png cannot be read"):
        read_picture(tmp_path / "text.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "half.jpg")
    whole = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.jpg cannot be read"):
        read_picture(tmp_path / "half.jpg")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    """Grayscale, palette, transparent and CMYK pictures become RGB; white stays white."""
    path = tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new("RGB", (8, 8), "white").convert(mode).save(path)
    picture = read_picture(path)
    assert picture.mode == "RGB"
    assert min(picture.getpixel((4, 4))) >= 250


def test_sixteen_bits_are_scaled(tmp_path):
    """A 16-bit grayscale picture is scaled to 8 bits, not clipped."""
    Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16)).save(tmp_path / "deep.png")
    # 32768 / 65535 * 255 = 127.5
    assert read_picture(tmp_path / "deep.png").getpixel((0, 0)) == (127, 127, 127)


def test_row_39_no_picture_starts_a_program(tmp_path):
    """An EPS named .jpg, for which Pillow would start Ghostscript, is an error that names the file."""
    file = tmp_path / "photo.jpg"
    Image.new("RGB", (4, 4)).save(file, format="EPS")
    with pytest.raises(DataError, match=r"photo\.jpg cannot be read: cannot identify"):
        read_picture(file)


def test_a_palette_with_transparency_is_read_quietly(tmp_path):
    """A palette whose transparency is a byte a colour becomes RGB without a warning."""
    picture = Image.new("P", (4, 4))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "p.png", transparency=bytes([0, 255]))
    assert read_picture(tmp_path / "p.png").mode == "RGB"
