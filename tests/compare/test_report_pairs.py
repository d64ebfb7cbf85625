"""Images in the report of a comparison: what two arms found in them, from the runs' own files."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_comparison import example
from numpy.random import default_rng
from PIL import Image
from runs import TINY, coco_files

from detloss.compare.report import write_report
from detloss.compare.result import Comparison, ImagePair

FIRST, SECOND = "giou", "smooth_l1"


@pytest.fixture
def compared(tmp_path: Path) -> Comparison:
    """A comparison in `tmp_path` whose runs of giou found all objects of six images, and those of smooth_l1 none."""
    images = tmp_path / "images"
    images.mkdir()
    content = json.loads(coco_files(images).read_text())
    pairs = [(1, "first better", 0.9), (2, "second better", -0.1), (3, "random", 0.2)]
    names = [image["file_name"] for image in content["images"]]
    comparison = example(
        failed={FIRST: 0},
        pairs=tuple(
            ImagePair(
                image_id=number, file_name=names[number - 1], arms=(FIRST, SECOND), difference=difference, chosen=chosen
            )
            for number, chosen, difference in pairs
        ),
    )
    found = [{**entry, "score": 0.9} for entry in content["annotations"] if entry["bbox"][2]]
    split = {"images": str(images), "annotations": str(images / "all.json")}
    for arm, results in zip(comparison.arms[:2], ([], found), strict=True):
        run = tmp_path / next(run.folder for run in arm.runs if run.seed == 1)
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(
            yaml.safe_dump(TINY | {"data": dict.fromkeys(("train", "val", "test"), split)})
        )
        (run / "predictions-test.json").write_text(json.dumps(results))
    return comparison


def pictures(page: str) -> list[tuple[str, Image.Image]]:
    """The images of a page with their descriptions."""
    found = re.findall(r'<img src="data:image/webp;base64,([^"]*)"[^>]*alt="([^"]*)"', page)
    return [(alt, Image.open(io.BytesIO(base64.b64decode(data)))) for data, alt in found]


def written(comparison: Comparison, folder: Path) -> str:
    return write_report(comparison, folder).read_text(encoding="utf-8")


def test_pairs_show_what_each_arm_found(compared: Comparison, tmp_path: Path) -> None:
    """Each image is there as both arms see it, at the first seed that both finished, and it says why it was chosen."""
    page = written(compared, tmp_path)
    shown = pictures(page)
    assert [arm for alt, _ in shown for arm in (FIRST, SECOND) if f"boxes of {arm}:" in alt] == [FIRST, SECOND] * 3
    assert [re.search(r": (\d) of (\d) found", alt)[1] == "0" for alt, _ in shown] == [False, True] * 3  # type: ignore[index]
    assert all(image.width * image.height > 200 * 200 for _, image in shown)
    assert page.count("giou</span>, seed 1:") == 3
    assert re.findall(r"<h3>(\S+ \S+ \S+|Random) <small>", page) == ["Best for giou", "Best for smooth_l1", "Random"]
    assert "Chosen, not typical" in page


def test_boxes_are_drawn(compared: Comparison, tmp_path: Path) -> None:
    """The two images of a pair differ where one arm found an object and the other missed it."""
    (_, first), (_, second) = pictures(written(compared, tmp_path))[:2]
    assert first.size == second.size
    assert first.tobytes() != second.tobytes()


def test_images_fit_into_the_page(compared: Comparison, tmp_path: Path) -> None:
    """Large noisy images, which compress badly, leave the report under 3 MB."""
    numbers = default_rng(0)
    names = [pair.file_name for pair in compared.image_pairs]
    content = json.loads((tmp_path / "images/all.json").read_text())
    for record in content["images"]:
        if record["file_name"] in names:
            record |= {"width": 900, "height": 900}
            noise = Image.fromarray(numbers.integers(0, 256, (900, 900, 3), dtype="uint8"))
            noise.save(tmp_path / "images" / record["file_name"])
    (tmp_path / "images/all.json").write_text(json.dumps(content))
    many = compared.model_copy(update={"image_pairs": compared.image_pairs * 20})
    page = written(many, tmp_path)
    assert len(page.encode()) < 3_000_000
    assert len(pictures(page)) == 2 * 12


def lose_images(folder: Path) -> None:
    shutil.rmtree(folder / "images")


def lose_predictions(folder: Path) -> None:
    for file in folder.rglob("predictions-test.json"):
        file.unlink()


def change_data(folder: Path) -> None:
    file = folder / "images/all.json"
    content: dict[str, Any] = json.loads(file.read_text())
    content["images"].reverse()
    file.write_text(json.dumps(content))


def lose_runs(folder: Path) -> None:
    shutil.rmtree(folder / "runs")


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (lose_images, "all.json"),
        (lose_predictions, "has no predictions for the split test"),
        (change_data, "is no longer"),
        (lose_runs, "it does not exist"),
    ],
)
def test_without_images_it_says_why(compared: Comparison, tmp_path: Path, lose: Any, why: str) -> None:
    """Where images or predictions are not there, the report is written without them and says what is missing."""
    lose(tmp_path)
    page = written(compared, tmp_path)
    assert pictures(page) == []
    (said,) = re.findall(r"<p>Not shown: (.*?)</p>", page)
    assert why in said
