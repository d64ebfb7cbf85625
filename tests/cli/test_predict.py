"""`detloss predict`: boxes in images of one's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.slow  # the first one of a process trains a tiny run


@pytest.fixture
def photos(trained_run: Path, tmp_path: Path) -> Path:
    """A folder of images like those that the run was trained on, in folders, with one of a camera that was turned."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    first, second, third = sorted((trained_run.parent / "images").glob("*.png"))[:3]
    shutil.copy(first, folder / "a.png")
    with Image.open(second) as image:
        image.convert("L").save(folder / "more" / "b.JPG")
    with Image.open(third) as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        image.crop((0, 0, 64, 48)).save(folder / "more" / "a.webp", exif=exif)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_images_in_files_and_folders(run_detloss: Run, trained_run: Path, photos: Path, tmp_path: Path) -> None:
    """Each image of a folder is drawn with its boxes, upright; all boxes are COCO results, which pycocotools reads."""
    output = tmp_path / "out"
    code, out, err = run_detloss("predict", str(trained_run), str(photos), "--score", "0", "--output", str(output))
    assert (code, err) == (0, "")
    assert "3 images, " in out
    assert str(output) in out
    drawn = {file.relative_to(output).as_posix() for file in output.rglob("*") if file.is_file()}
    assert drawn == {"a.png", "more/b.JPG", "more/a.png", "predictions.json"}
    with Image.open(output / "more" / "a.png") as image:
        assert image.height > image.width
    results = json.loads((output / "predictions.json").read_text())
    assert {one["file_name"] for one in results} <= {
        str(photos / name) for name in ("a.png", "more/a.webp", "more/b.JPG")
    }
    assert {one["category_id"] for one in results} <= {10, 20, 30}
    names = {10: "ellipse", 20: "rectangle", 30: "triangle"}
    assert all(one["name"] == names[one["category_id"]] for one in results)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in (1, 2, 3)],
        "categories": [{"id": identity} for identity in names],
        "annotations": [],
    }
    truth.createIndex()
    assert len(truth.loadRes(results).anns) == len(results) > 0


def test_the_boxes_are_those_of_the_training(run_detloss: Run, trained_run: Path, tmp_path: Path) -> None:
    """An image gives the boxes that the end of the run wrote for it; a score leaves the best, and these are printed."""
    image = trained_run.parent / "images" / "00001.png"
    expected = [
        one for one in json.loads((trained_run / "predictions-test.json").read_text()) if one["image_id"] == "i1"
    ]
    assert len(expected) > 1
    code, out, _ = run_detloss(
        "predict", str(trained_run), str(image), "--score", "0", "--json", "-o", str(tmp_path / "all")
    )
    assert code == 0
    found = json.loads(out)["results"]
    for one, other in zip(found, expected, strict=True):
        assert one["category_id"] == other["category_id"]
        np.testing.assert_allclose([*one["bbox"], one["score"]], [*other["bbox"], other["score"]], atol=0.02)
    least = (found[0]["score"] + found[1]["score"]) / 2
    code, out, _ = run_detloss(
        "predict", str(trained_run), str(image), "--score", str(least), "--json", "-o", str(tmp_path / "best")
    )
    assert json.loads(out)["results"] == found[:1]
    code, out, _ = run_detloss("predict", str(trained_run), str(image), "--score", "1", "-o", str(tmp_path / "none"))
    assert code == 0
    assert "1 image, 0 boxes with a score of 1 or more; 1 without a box.\nA lower --score shows" in out


def test_an_unreadable_image_is_skipped_and_named(
    run_detloss: Run, trained_run: Path, photos: Path, tmp_path: Path
) -> None:
    """A broken, an empty and a missing image, and one too thin for the detector, are named; the others are drawn."""
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:200])
    (photos / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (3000, 1)).save(photos / "thin.png")
    missing, output = photos / "missing.png", tmp_path / "out"
    code, out, err = run_detloss("predict", str(trained_run), str(missing), str(photos), "--json", "-o", str(output))
    assert code == 0
    printed = json.loads(out)
    assert len(printed["images"]) == 3
    assert [Path(file).name for file in printed["skipped"]] == ["missing.png", "broken.png", "empty.jpg", "thin.png"]
    assert "missing.png does not exist" in err
    for name in ("broken.png", "empty.jpg", "thin.png"):
        assert f"Skipped: The image {photos / name} cannot be " in err
    assert len(list(output.rglob("*.*"))) == 4
    code, out, _ = run_detloss("predict", str(trained_run), str(photos), "-o", str(tmp_path / "again"))
    assert code == 0
    assert out.splitlines()[-2 - ("A lower" in out)].endswith(", 3 skipped.")


def test_nothing_to_detect_in(run_detloss: Run, trained_run: Path, tmp_path: Path) -> None:
    """A folder without images, and images of which none can be read, are errors, and write nothing."""
    (tmp_path / "empty").mkdir()
    output = tmp_path / "out"
    code, _, err = run_detloss("predict", str(trained_run), str(tmp_path / "empty"), "--output", str(output))
    assert code == 1
    assert f"There is no image in {tmp_path / 'empty'}. Fix: give image files" in err
    code, _, err = run_detloss("predict", str(trained_run), str(tmp_path / "gone.png"), "--output", str(output))
    assert code == 1
    assert "None of 1 images can be read." in err
    assert "gone.png does not exist" in err
    assert not output.exists()


def test_what_is_there_is_not_overwritten(run_detloss: Run, trained_run: Path, photos: Path, tmp_path: Path) -> None:
    """Images of one name get names of their own; a folder with files in it is refused before anything is detected."""
    twice = [str(photos / "a.png"), str(photos / "more" / "a.webp")]
    assert run_detloss("predict", str(trained_run), *twice, "--output", str(tmp_path / "out"))[0] == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a.png", "a-2.png", "predictions.json"}
    code, _, err = run_detloss("predict", str(trained_run), *twice, "--output", str(tmp_path / "out"))
    assert code == 1
    assert f"{tmp_path / 'out'} is not empty. Fix: choose another output folder." in err
    code, _, err = run_detloss("predict", str(trained_run), *twice, "--output", str(photos / "notes.txt"))
    assert code == 1
    assert "notes.txt is a file. Fix: choose another output folder." in err


def test_a_folder_that_is_no_run(run_detloss: Run, tmp_path: Path) -> None:
    """Without a run in it, the folder is named, and what is missing."""
    code, _, err = run_detloss("predict", str(tmp_path), "a.png")
    assert code == 1
    assert f"{tmp_path} is not the folder of a run: it has no config.yaml." in err
