"""`detloss evaluate`: the numbers of a trained detector on any annotated images."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.slow  # the first one of a process trains a tiny run

NAMES = ("ellipse", "rectangle", "triangle")


def foreign(trained_run: Path, folder: Path, **changed: Any) -> list[str]:
    """Options that name an annotation file with what the detector finds as its objects, under other ids."""
    content = json.loads((trained_run.parent / "images" / "all.json").read_text())
    images = {image["id"]: number for number, image in enumerate(reversed(content["images"]), start=100)}
    ids = {10: "c", 20: "b", 30: "a"}  # the other way round
    found = json.loads((trained_run / "predictions-test.json").read_text())
    own = {
        "images": [{**image, "id": images[image["id"]]} for image in content["images"]],
        "categories": [{"id": ids[category["id"]], "name": category["name"]} for category in content["categories"]],
        "annotations": [
            {
                "id": number,
                "image_id": images[one["image_id"]],
                "category_id": ids[one["category_id"]],
                "bbox": one["bbox"],
            }
            for number, one in enumerate(found)
        ],
    }
    file = folder / "foreign.json"
    file.write_text(json.dumps({**own, **changed}))
    return ["--images", str(trained_run.parent / "images"), "--annotations", str(file)]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_numbers_are_those_of_the_training(run_detloss: Run, trained_run: Path, checkpoint: str) -> None:
    """On the run's own data, test by default, the numbers are those that training wrote, of the checkpoint named."""
    code, out, _ = run_detloss("evaluate", str(trained_run), "--checkpoint", checkpoint, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["data"] == "test"
    assert found["checkpoint"] == f"{checkpoint}.ckpt"
    assert found["sha256"] == hashlib.sha256((trained_run / f"{checkpoint}.ckpt").read_bytes()).hexdigest()
    written = json.loads((trained_run / "metrics.json").read_text())["test"]
    for name, value in written.items():
        if "/" not in name:
            assert found[name] == pytest.approx(value, abs=1e-3), name
    assert found["images"] == 6
    content = json.loads((trained_run.parent / "images" / "all.json").read_text())
    assert found["objects"] == len(content["annotations"]) - 1 == sum(one["objects"] for one in found["classes"])


def test_foreign_ids_are_mapped_by_name(run_detloss: Run, trained_run: Path, tmp_path: Path) -> None:
    """A file with other ids in another order gets each class measured as what it is, and boxes under its own ids."""
    results = tmp_path / "results.json"
    options = foreign(trained_run, tmp_path)
    code, out, _ = run_detloss("evaluate", str(trained_run), *options, "--output", str(results), "--json")
    assert code == 0
    found = json.loads(out)
    # The objects are what the detector finds.
    assert found["AP"] == pytest.approx(1, abs=0.01)
    assert {one["name"] for one in found["classes"]} == set(NAMES)
    for one in [found, *found["classes"]]:
        assert list(one["by_iou"]) == [f"0.{hundredths}" for hundredths in range(50, 100, 5)]
        assert one["by_iou"]["0.50"] == one["AP50"]
        assert one["by_iou"]["0.75"] == one["AP75"]
        assert sum(one["by_iou"].values()) / 10 == pytest.approx(one["AP"])
    written = json.loads(results.read_text())
    assert {one["category_id"] for one in written} <= {"a", "b", "c"}
    assert {one["image_id"] for one in written} <= set(range(100, 106))
    assert len(written) == found["objects"]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (("ellipse", "rectangle"), ["only the detector has: triangle"]),
        (
            ("ellipse", "rectangle", "tri\x1bangle"),
            ["only the detector has: triangle", r"only the data has: tri\x1bangle"],
        ),
        ((*NAMES, "star"), ["only the data has: star"]),
    ],
)
def test_other_categories_are_named(
    run_detloss: Run, trained_run: Path, tmp_path: Path, names: tuple[str, ...], lines: list[str]
) -> None:
    """Categories that only the detector or only the data have are named, and how to fix it."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    code, _, err = run_detloss("evaluate", str(trained_run), *foreign(trained_run, tmp_path, categories=categories))
    assert code == 1
    assert all(f"\n  {line}\n" in err for line in lines)
    assert "Fix: name the categories in the annotation file as in training" in err


def test_what_is_printed(run_detloss: Run, trained_run: Path, tmp_path: Path) -> None:
    """Two tables: the numbers of all and of each class, by size and by IoU threshold; a dash without objects."""
    content = json.loads((trained_run.parent / "images" / "all.json").read_text())
    ellipses = [
        {"id": 1, "image_id": 100, "category_id": "c", "bbox": [3, 3, 20, 20]},
        {"id": 2, "image_id": 100, "category_id": "c", "bbox": [3, 3, 30, 30], "iscrowd": 1},
    ]
    assert len(content["images"]) == 6
    code, out, err = run_detloss(
        "evaluate", str(trained_run), *foreign(trained_run, tmp_path, annotations=ellipses), "--checkpoint", "last"
    )
    assert (code, err) == (0, "")
    assert f"last.ckpt on {tmp_path / 'foreign.json'}: 6 images, 1 object" in out
    first, second = out.split("AP at each IoU threshold")
    rows = {line.split()[0]: line.split()[1:] for table in (first,) for line in table.splitlines() if line.strip()}
    assert rows["objects"] == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert rows["triangle"] == ["0", *"------"]
    assert rows["ellipse"][0] == rows["all"][0] == "1"
    assert rows["ellipse"][-2:] == ["-", "-"]
    assert second.split()[:10] == [f".{hundredths}" for hundredths in range(50, 100, 5)]
    assert {"all", *NAMES} <= set(second.split())


def test_wrong_usage(run_detloss: Run, trained_run: Path, tmp_path: Path) -> None:
    """Images without annotations, annotations without images, and a split beside both are wrong usage."""
    for options in (
        ["--images", "."],
        ["--annotations", "a.json"],
        [*foreign(trained_run, tmp_path), "--split", "val"],
    ):
        code, _, err = run_detloss("evaluate", str(trained_run), *options)
        assert code == 2
        assert "give --images and --annotations together, without" in " ".join(err.split())


def test_a_split_that_the_run_lacks(run_detloss: Run, trained_run: Path, tmp_path: Path) -> None:
    """Asked for test data that the run does not have, it says so; left to choose, it takes the validation data."""
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["test"] = None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    code, _, err = run_detloss("evaluate", str(run), "--split", "test")
    assert code == 1
    assert "this run has no test data. Fix: choose the split val or train" in err
    assert json.loads(run_detloss("evaluate", str(run), "--json")[1])["data"] == "val"
