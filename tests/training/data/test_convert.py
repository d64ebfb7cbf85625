"""Labels of Pascal VOC, YOLO and CVAT become COCO's, box by box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hotcoco import COCO
from PIL import Image

from detloss.config import load_config
from detloss.errors import DataError
from detloss.training import TrainConfig
from detloss.training.data.convert import Converted, convert, guess_format

BCCD = Path(__file__).parents[4] / "shared" / "data" / "bccd"
OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)
SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"


def image(file: Path, size: tuple[int, int] = (100, 80), orientation: int = 1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, (90, 120, 150))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(file, exif=exif)


def text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


def voc(folder: Path, **objects: str) -> Path:
    """A data set in the layout of Pascal VOC with an image for each key."""
    for name, inner in objects.items():
        image(folder / "JPEGImages" / f"{name}.jpg")
        text(
            folder / "Annotations" / f"{name}.xml",
            f"<annotation><filename>{name}.jpg</filename>{SIZE}{inner}</annotation>",
        )
    return folder


def boxes(found: Converted, split: str = "train") -> list[tuple[str, str, list[float]]]:
    """File, class and box of every annotation of a split, as the file has them."""
    coco = json.loads(found.files[split].read_text())
    files = {each["id"]: each["file_name"] for each in coco["images"]}
    names = {each["id"]: each["name"] for each in coco["categories"]}
    return [(files[each["image_id"]], names[each["category_id"]], each["bbox"]) for each in coco["annotations"]]


def reasons(found: Converted) -> list[str]:
    return [each.reason for each in found.skipped]


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    """The box of a whole 100 x 80 image is 1, 1, 100, 80 in Pascal VOC, and 0, 0, 100, 80 in COCO."""
    source = voc(tmp_path / "voc", a=OBJECT.format("dog", 0, 1, 1, 100, 80) + OBJECT.format("cat", 0, 11, 21, 30, 60))
    found = convert(source, tmp_path / "out")
    assert found.format == "voc"
    assert boxes(found) == [("a.jpg", "dog", [0, 0, 100, 80]), ("a.jpg", "cat", [10, 20, 20, 40])]


def test_voc_that_counts_from_zero_is_taken_as_written(tmp_path: Path) -> None:
    """A coordinate of 0 cannot be counted from 1: corners are taken as they are in all images, and a note says so."""
    source = voc(tmp_path / "voc", a=OBJECT.format("dog", 0, 0, 5, 50, 40), b=OBJECT.format("dog", 0, 11, 21, 30, 60))
    found = convert(source, tmp_path / "out", val=0)
    assert boxes(found) == [("a.jpg", "dog", [0, 5, 50, 35]), ("b.jpg", "dog", [11, 21, 19, 39])]
    assert "corners are taken as written" in found.notes[0]


def test_difficult_objects_are_crowds(tmp_path: Path) -> None:
    """`difficult` becomes `iscrowd`: no target of the loader, and a note with their number."""
    source = voc(tmp_path / "voc", a=OBJECT.format("dog", 1, 5, 5, 50, 40) + OBJECT.format("dog", 0, 11, 21, 30, 60))
    found = convert(source, tmp_path / "out")
    assert [each["iscrowd"] for each in json.loads(found.files["train"].read_text())["annotations"]] == [1, 0]
    assert (found.splits["train"].boxes, found.splits["train"].crowds) == (1, 1)
    assert found.notes[0].startswith("Objects marked `difficult` become crowds")
    assert found.notes[0].endswith("detector: 1.")


def test_a_faulty_voc_object_costs_itself_alone(tmp_path: Path) -> None:
    """Inverted and empty boxes, missing names and images of another size are skipped with their reason."""
    faulty = [
        OBJECT.format("dog", 0, 60, 5, 40, 40),
        OBJECT.format("dog", 0, 7, 7, 7, 7),
        OBJECT.format("", 0, 5, 5, 40, 40),
        OBJECT.format("dog", 0, "nan", 5, 40, 40),
        OBJECT.format("dog", 0, 201, 5, 240, 40),
    ]
    source = voc(tmp_path / "voc", a="".join(faulty) + OBJECT.format("dog", 0, 11, 21, 30, 60), b="", c="", d="")
    image(source / "JPEGImages" / "b.jpg", (50, 40))
    text(source / "JPEGImages" / "c.jpg", "no image")
    (source / "JPEGImages" / "d.jpg").unlink()
    found = convert(source, tmp_path / "out")
    assert boxes(found) == [("a.jpg", "dog", [10, 20, 20, 40])]
    assert sorted(reasons(found)) == [
        "bbox has no area",
        "bbox lies outside its image",
        "it has no class name",
        "its bndbox is not four numbers",
        "its box is a single point",
        "its image is missing",
        "the image cannot be read",
        "the image does not have its annotated size",
    ]
    report = (tmp_path / "out" / "skipped.txt").read_text().splitlines()
    assert len(report) == 8
    assert f"{source / 'Annotations' / 'a.xml'}: object 1 (dog): bbox has no area" in report


def test_voc_lists_make_the_splits(tmp_path: Path) -> None:
    """ImageSets/Main has an image of each line in its split; names without a file and files in no list are named."""
    source = voc(tmp_path / "voc", **{name: OBJECT.format("dog", 0, 11, 21, 30, 60) for name in "abcd"})
    text(source / "ImageSets" / "Main" / "train.txt", "a\nb 1\n\nmissing\n")
    text(source / "ImageSets" / "Main" / "val.txt", "c\n")
    text(source / "ImageSets" / "Main" / "dog_train.txt", "a 1\n")
    found = convert(source, tmp_path / "out")
    assert {name: [file for file, *_ in boxes(found, name)] for name in found.files} == {
        "train": ["a.jpg", "b.jpg"],
        "val": ["c.jpg"],
    }
    assert reasons(found) == ["no annotation file"]
    assert found.notes[0] == "XML files in none of the lists train, val are not converted: 1."


def test_voc_in_one_folder_a_split(tmp_path: Path) -> None:
    """XML files beside their images, in folders train and valid, are splits too."""
    for split in ("train", "valid"):
        image(tmp_path / "voc" / split / "x.png")
        inner = OBJECT.format("dog", 0, 11, 21, 30, 60)
        text(tmp_path / "voc" / split / "x.xml", f"<annotation><filename>x.png</filename>{SIZE}{inner}</annotation>")
    found = convert(tmp_path / "voc", tmp_path / "out")
    assert list(found.files) == ["train", "val"]
    assert boxes(found, "val") == [("x.png", "dog", [10, 20, 20, 40])]
    assert found.images["val"] == tmp_path / "voc" / "valid"


def test_a_split_for_validation_is_made_where_there_is_none(tmp_path: Path) -> None:
    """A share of the training images becomes `val`, the same on each call; no image is in both, and a note says so."""
    source = voc(tmp_path / "voc", **{f"i{number}": OBJECT.format("dog", 0, 11, 21, 30, 60) for number in range(10)})
    first, second = (convert(source, tmp_path / name, val=0.3) for name in ("one", "two"))
    split = {name: {file for file, *_ in boxes(first, name)} for name in ("train", "val")}
    assert (len(split["train"]), len(split["val"]), len(split["train"] | split["val"])) == (7, 3, 10)
    assert boxes(first, "val") == boxes(second, "val")
    assert "3 random images of the 10" in first.notes[0]
    assert first.config
    config = load_config(first.config, TrainConfig)
    assert config.data.val
    assert config.data.val.images == str(source / "JPEGImages")


def yolo(folder: Path, yaml: str, **labels: str | None) -> Path:
    """A YOLO data set with an image ``images/SPLIT/NAME.jpg`` for each key ``SPLIT_NAME``; None writes no labels."""
    for key, rows in labels.items():
        split, name = key.split("_")
        image(folder / "images" / split / f"{name}.jpg")
        if rows is not None:
            text(folder / "labels" / split / f"{name}.txt", rows)
    text(folder / "data.yaml", yaml)
    return folder


@pytest.mark.parametrize(
    "names", ["[dog, cat]", "{0: dog, 1: cat}", "\n  1: cat\n  0: dog"], ids=["list", "mapping", "block"]
)
def test_yolo_boxes_are_scaled_by_their_image(tmp_path: Path, names: str) -> None:
    """Center and size in [0, 1] become corner and size in pixels of a 100 x 80 image; classes count from 0."""
    yaml = f"train: images/train\nval: images/val\nnames: {names}"
    source = yolo(
        tmp_path / "y", yaml, train_a="0 0.5 0.5 0.2 0.4\n1 0.1 0.2 0.2 0.4\n", val_b="1 .5 .5 1 1", val_c=None
    )
    found = convert(source, tmp_path / "out")
    assert found.format == "yolo"
    assert boxes(found) == [("a.jpg", "dog", [40, 24, 20, 32]), ("a.jpg", "cat", [0, 0, 20, 32])]
    assert boxes(found, "val") == [("b.jpg", "cat", [0, 0, 100, 80])]
    assert (found.splits["val"].images, found.splits["val"].background) == (2, 1)
    assert not found.skipped


def test_yolo_polygons_and_keypoints_become_boxes(tmp_path: Path) -> None:
    """A row of a polygon is the box around it, with its outline as segmentation; keypoints are dropped."""
    yaml = "train: images/train\nval: images/val\nnames: [dog]"
    polygon = yolo(tmp_path / "y", yaml, train_a="0 0.1 0.1 0.5 0.2 0.3 0.6", val_b="0 .5 .5 1 1")
    found = convert(polygon, tmp_path / "out")
    assert boxes(found) == [("a.jpg", "dog", [10, 8, 40, 40])]
    (entry,) = json.loads(found.files["train"].read_text())["annotations"]
    assert entry["segmentation"] == [[10, 8, 50, 16, 30, 48]]
    assert found.notes == ("Rows with a polygon become a box: 1.",)
    pose = yolo(tmp_path / "p", f"{yaml}\nkpt_shape: [2, 3]", train_a="0 .5 .5 .2 .4 .4 .4 2 9 .6 1", val_b="")
    with pytest.raises(DataError, match="none of the 1 images of val has labels"):
        convert(yolo(tmp_path / "q", yaml, train_a="0 .5 .5 .2 .4", val_b=None), tmp_path / "nothing")
    assert boxes(convert(pose, tmp_path / "pose")) == [("a.jpg", "dog", [40, 24, 20, 32])]


def test_faulty_yolo_rows_are_skipped(tmp_path: Path) -> None:
    """Rows of another length, of unknown classes, not normalized or without area are skipped with their line."""
    rows = "0 .5 .5 .2 .4\n0 .5 .5 .2\n7 .5 .5 .2 .4\n0 50 40 20 32\n0 .5 .5 0 .4\n0 a .5 .2 .4\n0.5 .5 .5 .2 .4\n"
    yaml = "train: images/train\nval: images/val\nnames: [dog]"
    found = convert(yolo(tmp_path / "y", yaml, train_a=rows, val_b="0 .5 .5 1 1"), tmp_path / "out")
    assert len(boxes(found)) == 1
    assert [each.where.rpartition("line ")[2] for each in found.skipped] == ["2", "3", "4", "6", "7", "5"]
    assert [each.reason for each in found.skipped if each.where.endswith("line 4")] == [
        "it is not normalized: a coordinate is out of [0, 1]"
    ]


@pytest.mark.parametrize(
    ("yaml", "lists"),
    [
        ("path: {folder}\ntrain: images/train\nval: images/val\ntest: nowhere", ""),
        ("train: [images/train]\nval: [images/val]", ""),
        ("path: ../gone\ntrain: train.txt\nvalid: val.txt", "./images/{split}/{name}.jpg\n"),
        ("train: ../images/train\nval: ../images/val", ""),
    ],
    ids=["path", "list of folders", "text files", "Roboflow"],
)
def test_yolo_splits_are_folders_lists_or_text_files(tmp_path: Path, yaml: str, lists: str) -> None:
    """A split is found as YOLO's own loader finds it, or as exports mean it."""
    folder = tmp_path / "y" / "inner"
    yolo(folder, f"{yaml.format(folder=folder)}\nnames: [dog]", train_a="0 .5 .5 .2 .4", val_b="0 .5 .5 1 1")
    if lists:
        for split, name in (("train", "a"), ("val", "b")):
            text(folder / f"{split}.txt", lists.format(split=split, name=name))
    found = convert(folder / "data.yaml", tmp_path / "out")
    assert boxes(found) == [("a.jpg", "dog", [40, 24, 20, 32])]
    assert boxes(found, "val") == [("b.jpg", "dog", [0, 0, 100, 80])]


def test_a_yolo_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    """Normalized boxes refer to the image as it is shown: 60 x 90 where a file of 90 x 60 is turned by its EXIF."""
    source = yolo(tmp_path / "y", "train: images/train\nval: images/train\nnames: [dog]", train_a="0 .5 .5 .5 .5")
    image(source / "images" / "train" / "a.jpg", (90, 60), orientation=6)
    found = convert(source, tmp_path / "out")
    assert boxes(found) == [("a.jpg", "dog", [15, 22.5, 30, 45])]
    assert found.splits["train"].orientations.as_exif_says == 1
    assert found.notes[0].startswith("Images in both train and val: 1.")


def cvat(folder: Path, images: str, labels: tuple[str, ...] = ("dog", "cat")) -> Path:
    listed = "".join(f"<label><name>{name}</name></label>" for name in labels)
    meta = f"<version>1.1</version><meta><task><labels>{listed}</labels></task></meta>"
    return text(folder / "annotations.xml", f"<annotations>{meta}{images}</annotations>").parent


def test_cvat_shapes_become_boxes(tmp_path: Path) -> None:
    """Boxes stay as they are; polygons, masks, ellipses and rotated boxes become the box around them; others none."""
    shapes = (
        '<box label="cat" xtl="10.5" ytl="20" xbr="30.5" ybr="60" occluded="1"><attribute name="a">1</attribute></box>'
        '<box label="dog" xtl="10" ytl="20" xbr="30" ybr="60" rotation="90.00"/>'
        '<polygon label="dog" points="1,2;11,2;11.5,22"/>'
        '<ellipse label="dog" cx="50" cy="40" rx="20" ry="10" rotation="90"/>'
        '<mask label="dog" rle="0,12" left="1" top="2" width="3" height="4"/>'
        '<points label="dog" points="1,2"/><box label="dog" xtl="a" ytl="1" xbr="2" ybr="2"/><tag label="dog"/>'
    )
    image(tmp_path / "c" / "images" / "sub" / "a.png")
    source = cvat(tmp_path / "c", f'<image id="0" name="sub/a.png" width="100" height="80">{shapes}</image>')
    found = convert(source, tmp_path / "out")
    assert found.format == "cvat"
    assert boxes(found) == [
        ("a.png", "cat", [10.5, 20, 20, 40]),
        ("a.png", "dog", [0, 30, 40, 20]),
        ("a.png", "dog", [1, 2, 10.5, 20]),
        ("a.png", "dog", [40, 20, 20, 40]),
        ("a.png", "dog", [1, 2, 3, 4]),
    ]
    assert [each["name"] for each in json.loads(found.files["train"].read_text())["categories"]] == ["dog", "cat"]
    assert reasons(found) == ["CVAT's points has no box", "its box is not as CVAT writes it"]
    assert found.notes[0].endswith(
        "become the box around them: 1 x mask, 1 x polygon, 1 x rotated box, 1 x rotated ellipse."
    )
    assert found.config is None


def test_cvat_subsets_are_splits(tmp_path: Path) -> None:
    """The subsets Train and Validation are `train` and `val`; images may be in a folder of their subset."""
    shape = '<box label="dog" xtl="10" ytl="20" xbr="30" ybr="60"/>'
    listed = [
        f'<image name="{name}.png" subset="{subset}" width="100" height="80">{shape}</image>'
        for name, subset in (("a", "Train"), ("b", "Validation"), ("c", "Train"))
    ]
    image(tmp_path / "c" / "images" / "Train" / "a.png")
    image(tmp_path / "c" / "images" / "b.png")
    found = convert(cvat(tmp_path / "c", "".join(listed)), tmp_path / "out")
    assert {name: [file for file, *_ in boxes(found, name)] for name in found.files} == {
        "train": ["a.png"],
        "val": ["b.png"],
    }
    assert reasons(found) == ["the image is missing"]


def test_images_may_be_elsewhere(tmp_path: Path) -> None:
    """Without its images a data set is an error that names the first; `images` says where they are."""
    source = cvat(tmp_path / "c", '<image name="a.png" width="100" height="80"/>')
    image(tmp_path / "elsewhere" / "a.png")
    with pytest.raises(DataError, match=r"has no image.*a\.png: the image is missing.*Fix: give --images"):
        convert(source, tmp_path / "out")
    found = convert(source, tmp_path / "out", images=tmp_path / "elsewhere")
    assert found.splits["train"].background == 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second conversion into the same folder is refused, and leaves the files of the first."""
    source = voc(tmp_path / "voc", a=OBJECT.format("dog", 0, 11, 21, 30, 60), b="")
    found = convert(source, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in found.output.iterdir()}
    assert set(before) == {"train.json", "val.json", "config.yaml", "boxes.png"}
    with pytest.raises(DataError, match=r"train\.json already exists"):
        convert(source, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in found.output.iterdir()} == before


def test_what_cannot_be_read_back_is_not_left_behind(tmp_path: Path) -> None:
    """Boxes that the loader refuses, here normalized ones, are an error, and the folder stays empty."""
    source = voc(tmp_path / "voc", a=OBJECT.format("dog", 0, 0.1, 0.1, 0.5, 0.9))
    with pytest.raises(DataError, match="look normalized"):
        convert(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found no data.yaml for YOLO, no XML"),
        ({"a.zip": "x"}, r"a\.zip is an archive. Fix: unpack it"),
        ({"a.json": "{}"}, "in a config directly"),
        ({"labels/a.txt": "0 .5 .5 1 1"}, r"no data\.yaml with splits and names. Fix: write one there"),
        ({"a.xml": "<html/>"}, "neither Pascal VOC nor CVAT: its root is <html>"),
        ({"a.xml": "<annotation"}, r"a\.xml cannot be read as XML"),
        ({"annotations.xml": "<annotations><track/></annotations>"}, "a CVAT export of a video"),
        ({"Annotations/a.txt": ""}, "no data.yaml"),
        ({"data.yaml": "names: [a]"}, "names no split"),
        ({"data.yaml": "names: [a]\ntrain: gone"}, r"train is gone, which is missing \(tried .*Fix: correct `path`"),
        ({"data.yaml": "names: [a]\ntrain: empty", "empty/a.txt": ""}, "train .empty. has no image"),
        ({"data.yaml": "names: 3\ntrain: ."}, "`names` must be a list .*found 3"),
        ({"data.yaml": "names: [a, a]\ntrain: ."}, "the class a appears twice"),
    ],
    ids=[
        "nothing",
        "zip",
        "json",
        "no yaml",
        "html",
        "cut off",
        "video",
        "empty",
        "no split",
        "gone",
        "no image",
        "number",
        "twice",
    ],
)
def test_what_is_no_data_set_is_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    """What cannot be converted is an error that says what it is and what to do."""
    source = tmp_path / "source"
    source.mkdir()
    written = [text(source / name, content) for name, content in files.items()]
    single = written[0] if len(written) == 1 and written[0].suffix in (".zip", ".json") else source
    with pytest.raises(DataError, match=message):
        convert(single, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    """A path with a typing error is named."""
    with pytest.raises(DataError, match="gone does not exist"):
        convert(tmp_path / "gone", tmp_path / "out", format="voc")


def test_files_beside_the_data_are_in_nobodys_way(tmp_path: Path) -> None:
    """A YAML file that cannot be read does not hide a data set; a file in the place of its folder is named."""
    source = voc(tmp_path / "voc", a=OBJECT.format("dog", 0, 11, 21, 30, 60))
    text(source / "docs.yml", "a: !tag [")
    assert guess_format(source) == "voc"
    with pytest.raises(DataError, match=r"a\.xml is not a folder. Fix: give the folder that holds `Annotations`"):
        convert(source / "Annotations" / "a.xml", tmp_path / "out")


def test_a_cvat_file_may_have_any_name(tmp_path: Path) -> None:
    """The only XML file of a folder is CVAT's; of several it has to be named."""
    image(tmp_path / "c" / "a.png")
    source = cvat(tmp_path / "c", '<image name="a.png" width="100" height="80"/>')
    (source / "annotations.xml").rename(source / "one.xml")
    assert convert(source, tmp_path / "out").splits["train"].images == 1
    text(source / "two.xml", (source / "one.xml").read_text())
    with pytest.raises(DataError, match=r"has 2 XML files. Fix: give CVAT's annotations\.xml itself"):
        convert(source, tmp_path / "again")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The training split of the blood cells in each format, as hotcoco writes it."""
    if not BCCD.is_dir():
        pytest.skip("the blood-cell images are not beside the project")
    coco, folder = COCO(str(BCCD / "train.json")), tmp_path_factory.mktemp("bccd")
    coco.to_voc(str(folder / "voc"))
    (folder / "voc" / "JPEGImages").symlink_to(BCCD / "images")
    listed = "\n".join(Path(each["file_name"]).stem for each in coco.dataset["images"])
    text(folder / "voc" / "ImageSets" / "Main" / "train.txt", listed)
    (folder / "cvat").mkdir()
    coco.to_cvat(str(folder / "cvat" / "annotations.xml"))
    (folder / "cvat" / "images").symlink_to(BCCD / "images")
    coco.to_yolo(str(folder / "yolo" / "labels"))
    (folder / "yolo" / "images").symlink_to(BCCD / "images")
    names = (folder / "yolo" / "labels" / "data.yaml").read_text()
    (folder / "yolo" / "labels" / "data.yaml").unlink()
    paths = "\n".join(f"./images/{each['file_name']}" for each in coco.dataset["images"])
    text(folder / "yolo" / "train.txt", paths)
    text(folder / "yolo" / "data.yaml", f"{names}\ntrain: train.txt\n")
    return {name: folder / name for name in ("voc", "cvat", "yolo")}


@pytest.mark.parametrize("format_", ["voc", "cvat", "yolo"])
def test_blood_cells_come_back(exported: dict[str, Path], tmp_path: Path, format_: str) -> None:
    """Exported by hotcoco and converted back, 205 images have their 2,804 boxes and classes, to a hundredth pixel."""
    found = convert(exported[format_], tmp_path / "out", val=0)
    expected = json.loads((BCCD / "train.json").read_text())

    def listed(coco: dict[str, Any]) -> list[tuple[Any, ...]]:
        files = {each["id"]: each["file_name"] for each in coco["images"]}
        names = {each["id"]: each["name"] for each in coco["categories"]}
        return sorted(
            (files[each["image_id"]], names[each["category_id"]], *(round(value) for value in each["bbox"]))
            for each in coco["annotations"]
        )

    assert (found.format, found.splits["train"].images, found.splits["train"].boxes) == (format_, 205, 2804)
    assert listed(json.loads(found.files["train"].read_text())) == listed(expected)
    assert not found.skipped
