"""Drawing boxes and their labels on images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from detloss.training.drawing import contact_sheet, draw_boxes, label_color

RED, BLUE = "#ff0000", "#0000ff"


def colored(image: Image.Image, color: str) -> np.ndarray:
    """Where pixels of exactly this color are: rows, columns."""
    return np.argwhere((np.asarray(image) == ImageColor.getrgb(color)).all(axis=-1))


def test_a_small_image_is_enlarged_and_its_boxes_with_it():
    """64 x 32 becomes 480 x 240; the box (8, 8, 16, 16) is there at 7.5 times its place, its line around it."""
    drawn = draw_boxes(torch.zeros(3, 32, 64), [(8, 8, 16, 16)], [""], [RED])
    assert drawn.size == (480, 240)
    red = colored(drawn, RED)
    # 8 * 7.5 = 60 and 16 * 7.5 = 120, and 2 pixels of line around.
    assert red.min(axis=0).tolist() == [58, 58]
    assert red.max(axis=0).tolist() == [122, 122]
    assert not len(red[((red > 60) & (red < 120)).all(axis=1)]), "the object itself is not painted over"


def test_a_large_image_keeps_its_size_unless_told():
    """1000 x 600 stays; with `side` the longer side is that."""
    image = torch.zeros(3, 600, 1000, dtype=torch.uint8)
    assert draw_boxes(image, [], [], []).size == (1000, 600)
    assert draw_boxes(image, [], [], [], side=500).size == (500, 300)


@pytest.mark.parametrize(
    "box", [(0, 0, 479, 479), (0, 0, 10, 10), (470, 470, 480, 480), (470, 0, 480, 10), (-50, 460, 900, 900)]
)
@pytest.mark.parametrize("text", ["cat 0.50", "a name of a class that is far wider than any image could ever be"])
def test_a_label_stays_within_the_image(box, text):
    """A label is drawn whole wherever its box is: as many pixels as in the middle of the image, or cut by `...`."""

    def pixels(place):
        return len(colored(draw_boxes(torch.ones(3, 480, 480), [place], [text], [RED]), RED)) - len(
            colored(draw_boxes(torch.ones(3, 480, 480), [place], [""], [RED]), RED)
        )

    # Up to the two lines of its own box that a label may hide, each as long as it is.
    assert pixels(box) >= 0.6 * pixels((200, 200, 210, 210))


def test_labels_hide_no_small_object_and_no_other_label():
    """Of 20 small objects in one image all stay visible beside 20 labels, each of which is whole."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(20, 2, generator=generator) * 300
    boxes = torch.cat([corners, corners + 14], dim=1)
    image = torch.ones(3, 320, 320)
    for x1, y1, x2, y2 in boxes.round().int().tolist():
        image[:, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    colors = [f"#ff00{number:02x}" for number in range(20)]
    bare = draw_boxes(image, boxes.tolist(), [""] * 20, colors)
    full = draw_boxes(image, boxes.tolist(), [f"thing {number}" for number in range(20)], colors)
    assert len(colored(full, "#00ff00")) >= 0.98 * len(colored(bare, "#00ff00"))
    areas = [len(colored(full, color)) - len(colored(bare, color)) for color in colors]
    assert min(areas) > 0.7 * max(areas)


def test_the_first_twenty_classes_have_distinct_colors():
    """Any two of labels 1 to 20 differ by at least 40 of 255 in RGB, and none is black, white or gray."""
    colors = np.array([ImageColor.getrgb(label_color(label)) for label in range(1, 21)], dtype=float)
    distances = np.linalg.norm(colors[:, None] - colors, axis=-1)
    assert distances[~np.eye(20, dtype=bool)].min() > 40
    assert np.ptp(colors, axis=1).min() > 40


def test_a_sheet_holds_every_image_with_its_title():
    """Three images in two columns: each is pasted whole; without titles there is no room for any."""
    images = [Image.new("RGB", (100, height), color) for height, color in ((50, RED), (80, BLUE), (20, "#00ff00"))]
    sheet = contact_sheet(images, ["one", "two", "a title much wider than its image is"], 2)
    for image, color in zip(images, (RED, BLUE, "#00ff00"), strict=True):
        assert len(colored(sheet, color)) == image.width * image.height
    # Two columns of 100 between three margins of 8; rows of 80 and 20, each with a margin and, with titles, 22 above.
    assert sheet.size == (224, 8 + 80 + 8 + 20 + 8 + 2 * 22)
    assert contact_sheet(images, ["", "", ""], 2).size == (224, 8 + 80 + 8 + 20 + 8)
