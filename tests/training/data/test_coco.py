"""COCO files and pictures as they are found in the wild."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detloss.errors import DataError
from detloss.training.data.coco import read_annotations
from detloss.training.data.datamodule import AugmentedDataset
from detloss.training.data.dataset import CocoDataset, collate
from detloss.training.data.images import read_picture
from detloss.training.settings import AugmentConfig

BCCD = Path(__file__).parents[4] / "shared" / "data" / "bccd"
EXIF_ORIENTATION = 0x0112


def write(folder: Path, **changed: Any) -> Path:
    """A COCO file of two 40 x 30 pictures and two categories, with some keys changed."""
    folder.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        if not (folder / name).exists():
            Image.new("RGB", (40, 30), (10, 20, 30)).save(folder / name)
    content = {
        "info": {"year": "2024"},
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 30, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 30, "bbox": [1, 2, 10, 20], "area": 150, "iscrowd": 0}],
        **changed,
    }
    file = folder / "annotations.json"
    file.write_text(json.dumps(content))
    return file


def box(**changed: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 4, "bbox": [1, 2, 10, 20], **changed}


def test_items_are_what_torchvision_takes(tmp_path):
    """An image is float (3, H, W) in [0, 1]; boxes are x1, y1, x2, y2; labels count categories by id from 1."""
    data = CocoDataset(tmp_path, write(tmp_path))
    image, target = data[0]
    assert image.shape == (3, 30, 40)
    assert image.dtype == torch.float32
    # The colour (10, 20, 30) of 255.
    assert image[:, 0, 0].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255])
    assert target["boxes"].tolist() == [[1, 2, 11, 22]]
    # Categories by id: 4 cat, 30 dog.
    assert data.categories == ("cat", "dog")
    assert target["labels"].tolist() == [2]
    assert target["image_id"].item() == 1


def test_a_picture_without_boxes_has_boxes_of_shape_0_4(tmp_path):
    """A picture without boxes gives (0, 4) float boxes and (0,) integer labels."""
    _, target = CocoDataset(tmp_path, write(tmp_path))[1]
    assert target["boxes"].shape == (0, 4)
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].shape == (0,)
    assert target["labels"].dtype == torch.int64


def test_crowd_boxes_are_ground_truth_but_no_targets(tmp_path):
    """A crowd box is passed to the evaluation and is not trained on."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(), box(id=2, iscrowd=1)]))
    assert len(data[0][1]["boxes"]) == 1
    assert [entry["iscrowd"] for entry in data.coco["annotations"]] == [0, 1]


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ([1, 2, 0, 5], "no area"),
        ([1, 2, 5, -5], "no area"),
        ([50, 2, 5, 5], "outside its 40 x 30 picture"),
        ([-9, 2, 9, 5], "outside its 40 x 30 picture"),
        ([1, 2, float("nan"), 5], "not finite"),
        ([10**400, 2, 5, 5], "not finite"),
        ([1, 2, 5], "not four numbers"),
        (None, "not four numbers"),
        (["1", 2, 5, 5], "not four numbers"),
    ],
)
def test_a_degenerate_box_is_left_out_and_reported(tmp_path, bbox, reason):
    """A box that cannot be trained on is left out; file, annotation id and reason are reported."""
    file = write(tmp_path, annotations=[box(id="x7", bbox=bbox), box(id=2)])
    data = CocoDataset(tmp_path, file)
    assert len(data[0][1]["boxes"]) == 1
    assert len(data.coco["annotations"]) == 1
    (left_out,) = data.left_out
    assert left_out.annotation == "x7"
    assert str(file) in str(left_out)
    assert reason in str(left_out)


@pytest.mark.parametrize(
    "bbox",
    [
        [10, 20, 25, 1e-5],
        [10, 20, 0.9, 5],
        [39.5, 20, 10, 5],  # clipped to 0.5 px
    ],
)
def test_a_box_below_one_pixel_is_no_target_and_reported(tmp_path, bbox):
    """A box that is less than a pixel wide or high in its image is no target in any split; the evaluation keeps it."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(id=5, bbox=bbox), box(id=6, bbox=[1, 2, 1, 1])]))
    assert data[0][1]["boxes"].tolist() == [[1, 2, 2, 3]]
    assert [entry["bbox"] for entry in data.coco["annotations"]] == [bbox, [1, 2, 1, 1]]
    (skipped,) = data.left_out
    assert skipped.annotation == 5
    assert "less than 1 px" in str(skipped)


def test_crowds_below_one_pixel_are_not_reported(tmp_path):
    """A crowd box is no target anyway, so its size is no news."""
    assert CocoDataset(tmp_path, write(tmp_path, annotations=[box(bbox=[1, 2, 0.5, 5], iscrowd=1)])).left_out == ()


def test_a_box_is_clipped_to_its_picture(tmp_path):
    """A box that reaches over the edge is trained on up to the edge; the evaluation gets it as written."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(bbox=[-5, 20, 100, 20])]))
    assert data[0][1]["boxes"].tolist() == [[0, 20, 40, 30]]
    assert data.coco["annotations"][0]["bbox"] == [-5, 20, 100, 20]


def test_a_box_beyond_all_numbers_is_clipped_too(tmp_path):
    """Coordinates that float32 cannot hold give the picture's edges, not NaN."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(bbox=[-1e39, 20, 2e39, 1e300], area=10**400)]))
    assert data[0][1]["boxes"].tolist() == [[0, 20, 40, 30]]
    assert data.coco["annotations"][0]["area"] == 2e39 * 1e300


@pytest.mark.parametrize(
    ("word", "crowd"), [(0, 0), (1, 1), (False, 0), (True, 1), ("0", 0), ("1", 1), (None, 0), ([], 0)]
)
def test_crowds_are_what_says_so(tmp_path, word, crowd):
    """`iscrowd` is read as it is found in the wild; text "0" makes no crowd."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(iscrowd=word)]))
    assert data.coco["annotations"][0]["iscrowd"] == crowd
    assert len(data[0][1]["boxes"]) == 1 - crowd


@pytest.mark.parametrize("width", [float("inf"), float("nan"), 10**400, "40", True, None, -40, 0])
def test_a_size_that_is_none_is_read_from_the_picture(tmp_path, width):
    """A width that is no positive number counts as one that is not there."""
    images = [{"id": 7, "file_name": "a.png", "width": width, "height": 30}]
    data = CocoDataset(tmp_path, write(tmp_path, images=images))
    assert data.coco["images"][0]["width"] == 40


def test_unknown_references_are_left_out(tmp_path):
    """An annotation of an image or category that the file does not list is left out and reported."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(image_id=8), box(id=2, category_id=5)]))
    assert [entry.annotation for entry in data.left_out] == [1, 2]
    assert "image_id 8" in str(data.left_out[0])
    assert "category_id 5" in str(data.left_out[1])


def test_string_ids_are_taken_and_mapped_back(tmp_path):
    """Ids written as strings work, even where annotations write them as numbers; the file is not changed."""
    file = write(
        tmp_path,
        images=[{"id": "7", "file_name": "a.png", "width": 40, "height": 30}],
        categories=[{"id": "c", "name": "cat"}],
        annotations=[box(id="s", image_id=7, category_id="c", area="big")],
    )
    before = file.read_bytes()
    found = read_annotations(file, tmp_path)
    assert found.coco["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20], "area": 200, "iscrowd": 0}
    ]
    assert (found.image_ids, found.category_ids) == (("7",), ("c",))
    assert file.read_bytes() == before


def test_missing_pictures_are_named(tmp_path):
    """Pictures that are not there are an error that names folder and files when the data set is opened."""
    images = [{"id": 7, "file_name": "gone.jpg", "width": 40, "height": 30}]
    with pytest.raises(DataError, match=r"1 of 1 pictures listed in .* are not in .*: gone\.jpg"):
        CocoDataset(tmp_path, write(tmp_path, images=images))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "holds a list"),
        ('{"images": []}', "lists no image"),
        ('{"images": 3}', "'images' must be a list"),
        ("{}", "found no such key"),
        ('{"images": [{"file_name": "a.png"}]}', "image number 1 has no 'id'"),
        ('{"images": [{"id": 1, "file_name": 5}]}', "image number 1 has no 'file_name' that is text"),
        ('{"images": [{"id": 1}]}', "image number 1 has no 'file_name' that is text"),
        (json.dumps({"images": [{"id": 1, "file_name": "a" * 5000}]}), "1 of 1 pictures listed"),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1}, {"id": null}]}',
            "each with an 'id' that is a number or text",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "a.png"}]}',
            "image id '1' occurs twice",
        ),
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path, content, message):
    """A file that is no COCO JSON is an error that says what was found."""
    file = write(tmp_path)
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        CocoDataset(tmp_path, file)


def test_a_missing_file_is_an_error(tmp_path):
    """An annotation file that is not there is named."""
    with pytest.raises(DataError, match="does not exist"):
        CocoDataset(tmp_path, tmp_path / "none.json")


def test_sizes_are_read_from_the_pictures_where_the_file_has_none(tmp_path):
    """An image without width and height takes them from its picture."""
    images = [{"id": 7, "file_name": "a.png"}]
    assert CocoDataset(tmp_path, write(tmp_path, images=images)).coco["images"][0]["width"] == 40


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


def test_masks_come_from_polygons_and_run_lengths(tmp_path):
    """A mask is 1 inside its polygon or its run-length encoding."""
    # Column by column in a picture 30 high: 60 zeros (2 columns), 30 ones (column 2), the rest zeros.
    runs = {"size": [30, 40], "counts": [60, 30, 1110]}
    square = [[5, 5, 15, 5, 15, 15, 5, 15]]
    annotations = [box(segmentation=square), box(id=2, segmentation=runs)]
    data = CocoDataset(tmp_path, write(tmp_path, annotations=annotations), masks=True)
    masks = data[0][1]["masks"]
    assert masks.shape == (2, 30, 40)
    assert masks[0].sum().item() == 100
    assert masks[0, 10, 10].item() == 1
    assert masks[1].sum(dim=0).tolist() == [0, 0, 30] + [0] * 37
    assert data[1][1]["masks"].shape == (0, 30, 40)


def test_masks_follow_their_boxes_through_augmentation(tmp_path):
    """After flips and crops there is one mask a box, and it lies in the box."""
    squares = [
        box(id=i, bbox=[x, 5, 8, 8], segmentation=[[x, 5, x + 8, 5, x + 8, 13, x, 13]]) for i, x in ((1, 2), (2, 30))
    ]
    data = CocoDataset(tmp_path, write(tmp_path, annotations=squares), masks=True)
    augmented = AugmentedDataset(data, AugmentConfig(scale_jitter=[1.0, 3.0]), seed=0)
    counts = set()
    for epoch in range(12):
        _, target = augmented[epoch, 0]
        counts.add(len(target["boxes"]))
        assert len(target["masks"]) == len(target["boxes"])
        for (x1, y1, x2, y2), mask in zip(target["boxes"].round().int().tolist(), target["masks"], strict=True):
            inside = mask[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
            assert inside.sum() == mask.sum() > 0
    # Some crops lost a square.
    assert len(counts) > 1


def test_a_box_without_a_mask_is_refused_for_mask_models(tmp_path):
    """A mask model's data needs a segmentation for every box."""
    with pytest.raises(DataError, match=r"a\.png has no segmentation"):
        CocoDataset(tmp_path, write(tmp_path), masks=True)


def test_a_batch_is_two_lists_of_plain_tensors(tmp_path):
    """`collate` gives lists of images and targets, without tv_tensors."""
    data = CocoDataset(tmp_path, write(tmp_path))
    images, targets = collate([data[0], data[1]])
    assert [type(image) for image in images] == [torch.Tensor] * 2
    assert {type(value) for target in targets for value in target.values()} == {torch.Tensor}


@pytest.mark.skipif(not BCCD.is_dir(), reason="the photographs of blood cells are not beside the repository")
def test_real_photographs_are_read():
    """The BCCD photographs give the numbers of pictures, boxes and classes that its publisher states."""
    data = CocoDataset(BCCD / "images", BCCD / "val.json")
    assert len(data) == 87
    assert len(data.coco["annotations"]) == 1137
    assert data.categories == ("RBC", "WBC", "Platelets")
    image, target = data[3]
    assert image.shape == (3, 480, 640)
    assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
