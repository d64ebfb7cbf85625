"""COCO files and pictures as they are found in the wild."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from coco_files import box, write
from PIL import Image

from detloss.errors import DataError
from detloss.training.data.coco import read_annotations
from detloss.training.data.dataset import CocoDataset, collate

BCCD = Path(__file__).parents[4] / "shared" / "data" / "bccd"


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
        ([50, 2, 5, 5], "outside its 40 x 30 image"),
        ([-9, 2, 9, 5], "outside its 40 x 30 image"),
        ([1, 2, float("nan"), 5], "not finite"),
        ([10**400, 2, 5, 5], "not finite"),
        ([1, 2, 5], "not four numbers"),
        (None, "not four numbers"),
        (["1", 2, 5, 5], "not four numbers"),
    ],
)
def test_a_degenerate_box_is_skipped_and_reported(tmp_path, bbox, reason):
    """A box that cannot be trained on is left out; file, annotation id and reason are reported."""
    file = write(tmp_path, annotations=[box(id="x7", bbox=bbox), box(id=2)])
    data = CocoDataset(tmp_path, file)
    assert len(data[0][1]["boxes"]) == 1
    assert len(data.coco["annotations"]) == 1
    (skipped,) = data.skipped
    assert skipped.annotation == "x7"
    assert str(file) in str(skipped)
    assert reason in str(skipped)


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
    (skipped,) = data.skipped
    assert skipped.annotation == 5
    assert "less than 1 px" in str(skipped)


def test_crowds_below_one_pixel_are_not_reported(tmp_path):
    """A crowd box is no target anyway, so its size is no news."""
    assert CocoDataset(tmp_path, write(tmp_path, annotations=[box(bbox=[1, 2, 0.5, 5], iscrowd=1)])).skipped == ()


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


def test_unknown_references_are_skipped(tmp_path):
    """An annotation of an image or category that the file does not list is left out and reported."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(image_id=8), box(id=2, category_id=5)]))
    assert [entry.annotation for entry in data.skipped] == [1, 2]
    assert "image_id 8" in str(data.skipped[0])
    assert "category_id 5" in str(data.skipped[1])


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


@pytest.mark.parametrize("name", ["gone.jpg", "a" * 5000, "a\0.png"])
def test_missing_images_are_named(tmp_path, name):
    """Images that are not there are an error that names folder and files when the data set is opened."""
    images = [{"id": 7, "file_name": name, "width": 40, "height": 30}]
    shown = {"a" * 5000: r"a{80}\.\.\.", "a\0.png": r"a\\x00\.png"}.get(name, r"gone\.jpg")
    with pytest.raises(DataError, match=rf"1 of 1 images listed in .* are not in .*: {shown}\. Fix: set `images`"):
        CocoDataset(tmp_path, write(tmp_path, images=images))


def test_a_folder_of_images_that_is_none_is_named(tmp_path):
    """Where the folder of the images is missing, or is a file, the error says so."""
    file = write(tmp_path)
    with pytest.raises(DataError, match=r"2 of 2 images .* are not in .*none, which is missing: a\.png, b\.png"):
        CocoDataset(tmp_path / "none", file)
    with pytest.raises(DataError, match=r"annotations\.json, which is not a folder"):
        CocoDataset(file, file)


def test_backslashes_are_separators(tmp_path):
    """A file name that was written on Windows is found."""
    images = [{"id": 7, "file_name": "sub\\deep\\a.png"}]
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(tmp_path / "sub" / "deep" / "a.png")
    data = CocoDataset(tmp_path, write(tmp_path, images=images))
    assert data[0][0].shape == (3, 10, 20)


@pytest.mark.parametrize(
    ("key", "ids"),
    [("image", [{"id": 1}, {"id": 1.0}]), ("image", [{"id": 1}, {"id": "1"}]), ("category", [{"id": "a"}] * 2)],
)
def test_an_id_that_occurs_twice_is_refused(tmp_path, key, ids):
    """Two images or categories with one id are an error; so are a number and its text."""
    listed = [{**entry, "file_name": "a.png"} for entry in ids]
    changed = {"image": {"images": listed}, "category": {"categories": listed}}[key]
    with pytest.raises(DataError, match=f"1 {key} ids occur more than once, the first is"):
        CocoDataset(tmp_path, write(tmp_path, **changed))


@pytest.mark.parametrize(
    "boxes",
    [
        [[0.1, 0.2, 0.5, 0.5]],
        [[0.1, 0.2, 0.5, 0.5], [0.5, 0.5, 0.25, 1]],
        [[0, 0, 1, 1]],
        [[0.1, 0.2, 0, 0.5]],  # reported as without area where it is read
    ],
)
def test_a_file_that_looks_normalized_is_refused(tmp_path, boxes):
    """Where all boxes lie in [0, 1] the file is refused; `bbox_check` off takes them as pixels."""
    file = write(tmp_path, annotations=[box(id=number, bbox=bbox) for number, bbox in enumerate(boxes)])
    with pytest.raises(DataError, match=r"look normalized: all lie in \[0, 1\].*Fix: mult.*`data\.bbox_check: off`"):
        CocoDataset(tmp_path, file)
    data = CocoDataset(tmp_path, file, bbox_check=False)
    assert len(data.skipped) == len(boxes) - (boxes == [[0, 0, 1, 1]])


def test_a_file_with_one_box_in_pixels_is_not_normalized(tmp_path):
    """One box of more than a pixel is enough: the small ones are reported one by one."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(bbox=[0.1, 0.1, 0.5, 0.5]), box(id=2)]))
    assert [entry.annotation for entry in data.skipped] == [1]


CORNERS = [[30, 20, 39, 29], [0, 0, 10, 10], [20, 25, 41, 31]]
"""In 40 x 30: as width and height the first and the third reach out by 29 x 19 and 21 x 26 pixels."""


def test_a_file_that_looks_like_corners_is_refused(tmp_path):
    """Where over half of the boxes reach out of their images, and all fit as x2, y2, the file is refused."""
    file = write(tmp_path, annotations=[box(id=number, bbox=bbox) for number, bbox in enumerate(CORNERS)])
    with pytest.raises(DataError, match=r"look like corners: 2 of 3 reach out.*write x1, y1, x2 - x1.*bbox_check: off"):
        CocoDataset(tmp_path, file)
    assert len(CocoDataset(tmp_path, file, bbox_check=False)[0][1]["boxes"]) == 3


@pytest.mark.parametrize(
    "boxes",
    [
        [*CORNERS, [0, 0, 10, 10]],  # half of them, not more
        [*CORNERS, [20, 20, 10, 5]],  # no corners: x2 is left of x1
        [*CORNERS, [0, 0, 45, 10]],  # no corners: x2 lies outside
        [*CORNERS, [-5, 0, 10, 10]],
        [[30, 20, 11, 11]],  # reaches out by a pixel
        [[-1e308, 20, 1.7e308, 1.7e308]],
        [],
    ],
)
def test_boxes_that_only_reach_out_are_no_corners(tmp_path, boxes):
    """Boxes that are clipped at the edge, and files without boxes, are taken as they are."""
    file = write(tmp_path, annotations=[box(id=number, bbox=bbox) for number, bbox in enumerate(boxes)])
    assert len(CocoDataset(tmp_path, file).coco["annotations"]) == len(boxes)


def test_what_strangers_wrote_is_escaped(tmp_path):
    """An annotation's id, shown in a report, cannot steer the terminal."""
    data = CocoDataset(tmp_path, write(tmp_path, annotations=[box(id="\x1b[2J", bbox=["\x1b]0;"])]))
    assert "\x1b" not in str(data.skipped[0])


def test_sizes_are_read_from_the_pictures_where_the_file_has_none(tmp_path):
    """An image without width and height takes them from its picture."""
    images = [{"id": 7, "file_name": "a.png"}]
    assert CocoDataset(tmp_path, write(tmp_path, images=images)).coco["images"][0]["width"] == 40


def test_a_batch_is_two_lists_of_plain_tensors(tmp_path):
    """`collate` gives lists of images and targets, without tv_tensors."""
    data = CocoDataset(tmp_path, write(tmp_path))
    images, targets = collate([data[0], data[1]])
    assert [type(image) for image in images] == [torch.Tensor] * 2
    assert {type(value) for target in targets for value in target.values()} == {torch.Tensor}


@pytest.mark.skipif(not BCCD.is_dir(), reason="the images of blood cells are not next to the repository")
def test_real_photographs_are_read():
    """The BCCD photographs give the numbers of pictures, boxes and classes that its publisher states."""
    data = CocoDataset(BCCD / "images", BCCD / "val.json")
    assert len(data) == 87
    assert len(data.coco["annotations"]) == 1137
    assert data.categories == ("RBC", "WBC", "Platelets")
    image, target = data[3]
    assert image.shape == (3, 480, 640)
    assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()


def test_paths_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    """`~` in a path of data is the home folder; an unknown user's is a path like any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "photos")
    assert len(CocoDataset("~/photos", "~/photos/annotations.json")) == 2
    with pytest.raises(DataError, match=r"~no-such-user/a\.json does not exist"):
        CocoDataset("~/photos", "~no-such-user/a.json")


def test_pixels_of_a_data_set_have_one_scale(tmp_path):
    """`pixel_range` counts for all images: here 0 is black and 100 is white."""
    file = write(tmp_path)
    assert CocoDataset(tmp_path, file, pixel_range=[0, 100])[0][0][:, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
