"""Runs of other programs, compared from what they wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_runs import blurred, made_run, truth
from PIL import Image

from detloss import ConfigError
from detloss.compare import write_run
from detloss.compare.result_file import read_comparison
from detloss.errors import DataError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ground_truth(tmp_path: Path) -> Path:
    """The validation data of the made runs as a COCO file with ids of its own."""
    coco = truth()
    content = {
        "images": [{**image, "id": f"i{image['id']}"} for image in coco["images"]],
        "categories": [{**category, "id": 10 * category["id"]} for category in coco["categories"]],
        "annotations": [
            {**entry, "image_id": f"i{entry['image_id']}", "category_id": 10 * entry["category_id"]}
            for entry in coco["annotations"]
        ],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(content))
    return file


def results(seed: int, blur: float) -> list[dict[str, Any]]:
    """Detections with the ids of `ground_truth`."""
    return [
        {**one, "image_id": f"i{one['image_id']}", "category_id": 10 * one["category_id"]}
        for one in blurred(seed, blur)
    ]


def written(folder: Path, file: Path, name: str, seed: int = 0, *, blur: float = 2.0, **more: Any) -> Path:
    return write_run(folder, name=name, seed=seed, predictions=results(seed, blur), ground_truth=file, **more)


def test_runs_of_another_program_are_compared(run_detloss: Run, tmp_path: Path, ground_truth: Path) -> None:
    """Their numbers, pairs of seeds, models and hours are those of runs of detloss with the same detections."""
    blur = {"yolo stock": 4.0, "yolo ciou": 1.0}
    more = {"model": "yolo11n", "hours": 0.5, "settings": {"epochs": 10}}
    folders = [
        written(tmp_path / f"{name}-{seed}", ground_truth, name, seed, blur=blur[name], **more)
        for name in blur
        for seed in range(3)
    ]
    code, out, err = run_detloss("compare", *map(str, folders), "--output", str(tmp_path / "a"))
    assert (code, err) == (0, "")
    assert out.startswith("yolo ciou is better than yolo stock")
    found = read_comparison(tmp_path / "a" / "compare.json")
    own = [
        str(made_run(tmp_path / f"own-{loss}-{seed}", loss, seed, blur=blur[name]))
        for name, loss in zip(blur, ("smooth_l1", "giou"), strict=True)
        for seed in range(3)
    ]
    assert run_detloss("compare", *own, "--output", str(tmp_path / "b"))[0] == 0
    expected = read_comparison(tmp_path / "b" / "compare.json")
    assert [run.metrics for arm in found.arms for run in arm.runs] == [
        run.metrics for arm in expected.arms for run in arm.runs
    ]
    assert found.differences[0].by_seed == expected.differences[0].by_seed
    assert found.differences[0].full == expected.differences[0].full
    assert (found.question.model, found.question.head, found.question.split) == ("yolo11n", "", "val")
    assert found.selection
    assert {run.seconds for run in found.measured.runs} == {1800.0}
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Which box loss of yolo11n?" in page
    assert "names no `images`" in page


def test_the_layout_can_be_written_by_hand(run_detloss: Run, tmp_path: Path, ground_truth: Path) -> None:
    """Three files are enough; runs may share their ground truth, and the report shows their images."""
    for image in truth()["images"]:
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (image["width"], image["height"])).save(tmp_path / "images" / image["file_name"])
    for name, blur in (("a", 4.0), ("b", 1.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.json").write_text(json.dumps(results(0, blur)))
        (tmp_path / name / "run.yaml").write_text(
            f"name: {name}\nseed: 0\nsplit: test\nground_truth: ../truth.json\nimages: ../images\n"
        )
    code, _, err = run_detloss("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "c"))
    assert (code, err) == (0, "")
    found = read_comparison(tmp_path / "c" / "compare.json")
    assert (found.question.split, found.selection) == ("test", False)
    assert (tmp_path / "c" / "report.html").read_text().count("data:image/webp") > 1


def test_a_failed_run_is_a_result(run_detloss: Run, tmp_path: Path, ground_truth: Path) -> None:
    """A folder with `failed.json` and no predictions counts as a failed run, with its reason."""
    folders = [written(tmp_path / f"{name}{seed}", ground_truth, name, seed) for name in "ab" for seed in (0, 1)]
    (folders[3] / "predictions.json").unlink()
    code, _, err = run_detloss("compare", *map(str, folders), "--output", str(tmp_path / "c"))
    assert code == 1
    assert "b1 has no whole predictions.json" in err
    (folders[3] / "failed.json").write_text('{"reason": "NaN"}')
    code, out, _ = run_detloss("compare", *map(str, folders), "--output", str(tmp_path / "c"))
    assert code == 0
    assert "1 of 2 runs of b failed (NaN)" in out


def test_runs_of_detloss_and_of_another_program(run_detloss: Run, tmp_path: Path, ground_truth: Path) -> None:
    """Both kinds are compared if they are judged on the same ground truth, and refused if not."""
    own = made_run(tmp_path / "own", "giou")
    other = written(tmp_path / "other", ground_truth, "yolo11n", model="yolo11n")
    code, _, err = run_detloss("compare", str(other), str(own), "--output", str(tmp_path / "c"))
    assert (code, err) == (0, "")
    found = read_comparison(tmp_path / "c" / "compare.json")
    assert [arm.label for arm in found.arms] == ["yolo11n", "giou"]
    assert found.arms[0].runs[0].metrics == found.arms[1].runs[0].metrics, "the detections are the same"
    assert found.question.model == "fasterrcnn tiny and yolo11n"
    less = json.loads(ground_truth.read_text())
    less["annotations"].pop()
    ground_truth.write_text(json.dumps(less))
    refused = written(tmp_path / "refused", ground_truth, "less")
    code, _, err = run_detloss("compare", str(own), str(refused), "--output", str(tmp_path / "d"))
    assert code == 1
    count = len(less["annotations"])
    assert f"is not that of {own} (found {count} annotations, expected {count + 1})" in " ".join(err.split())
    taken = written(tmp_path / "taken", tmp_path / "other" / "ground-truth.json", "giou", 1)
    code, _, err = run_detloss("compare", str(own), str(taken), "--output", str(tmp_path / "d"))
    assert code == 1
    assert "different arms with one name, giou" in " ".join(err.split())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 0}, "are the same: b with seed 0"),
        ({"settings": {"epochs": 20}}, "settings.epochs: 10 and 20"),
        ({"split": "test"}, "split: val and test"),
        ({"name": "a", "model": "other"}, "one arm, a, with two models (found 'other', expected '')"),
        ({"name": 3}, "run.yaml:1:7: name: should be a valid string"),
        ({"sead": 3}, "unknown key; did you mean 'seed'?"),
        ({"seed": None}, "run.yaml:2:7: seed: should be"),
    ],
)
def test_what_cannot_be_compared(
    run_detloss: Run, tmp_path: Path, ground_truth: Path, changed: dict[str, Any], message: str
) -> None:
    """A pair that is not one, other settings, and a wrong `run.yaml` are refused with the key."""
    folders = [
        written(tmp_path / str(number), ground_truth, name, number % 2, settings={"epochs": 10})
        for number, name in enumerate("aabb")
    ]
    file = folders[3] / "run.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changed}, sort_keys=False))
    code, _, err = run_detloss("compare", *map(str, folders), "--output", str(tmp_path / "d"))
    assert code == 1
    assert message in " ".join(err.split())


def test_a_ground_truth_in_the_home_folder(tmp_path: Path, ground_truth: Path, run_detloss: Run, home: Path) -> None:
    """With ``~`` each run has the file that it names: two different ones are refused."""
    less = json.loads(ground_truth.read_text())
    less["annotations"].pop()
    for name, content in (("a", ground_truth.read_text()), ("b", json.dumps(less))):
        (home / f"{name}.json").write_text(content)
        folder = written(tmp_path / name, ground_truth, name)
        with (folder / "run.yaml").open("a") as file:
            file.write(f"ground_truth: ~/{name}.json\n")
    code, out, err = run_detloss("compare", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "c"))
    assert (code, out) == (1, "")
    assert "its ground truth is not that of" in err


def test_other_ground_truth_is_refused(tmp_path: Path, ground_truth: Path, run_detloss: Run) -> None:
    """One box that differs is named, with both values."""
    first = written(tmp_path / "a", ground_truth, "a")
    changed = json.loads(ground_truth.read_text())
    changed["annotations"][2]["bbox"][0] += 1
    ground_truth.write_text(json.dumps(changed))
    second = written(tmp_path / "b", ground_truth, "b")
    code, _, err = run_detloss("compare", str(first), str(second), "--output", str(tmp_path / "c"))
    assert code == 1
    assert f"{second}: its ground truth is not that of {first} (annotation 3: found" in " ".join(err.split())


def test_the_split_is_what_the_runs_say(tmp_path: Path, ground_truth: Path, run_detloss: Run) -> None:
    """Another `--split` than that of the runs is refused."""
    folders = [str(written(tmp_path / name, ground_truth, name)) for name in "ab"]
    code, _, err = run_detloss("compare", *folders, "--split", "test", "--output", str(tmp_path / "c"))
    assert code == 1
    assert "found val, expected test" in " ".join(err.split())


def test_what_is_written_is_checked(tmp_path: Path, ground_truth: Path) -> None:
    """Values, predictions and ground truth are checked before anything is written, and no run is overwritten."""
    with pytest.raises(ConfigError, match=r"(?s)split: should be.*settings: should be"):
        written(tmp_path / "a", ground_truth, "a", split="train", settings=3)
    with pytest.raises(DataError, match=r"image_id 1 and category_id .* which the ground truth does not have"):
        write_run(tmp_path / "a", name="a", seed=0, predictions=blurred(0, 1.0), ground_truth=ground_truth)
    with pytest.raises(ConfigError, match="not COCO results of boxes"):
        write_run(tmp_path / "a", name="a", seed=0, predictions=[{"image_id": "i1"}], ground_truth=ground_truth)
    with pytest.raises(DataError, match="does not exist"):
        written(tmp_path / "a", tmp_path / "none.json", "a")
    content = json.loads(ground_truth.read_text())
    del content["images"][3]["width"]
    (tmp_path / "sizes.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"sizes\.json: image .* has no size \(found width null and height 64"):
        written(tmp_path / "a", tmp_path / "sizes.json", "a")
    assert not (tmp_path / "a").exists()
    written(tmp_path / "a", ground_truth, "a")
    with pytest.raises(ConfigError, match=r"a holds run\.yaml already"):
        written(tmp_path / "a", ground_truth, "a")


def test_numbers_of_numpy_and_images_of_a_relative_folder(
    tmp_path: Path, ground_truth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of numpy are written as numbers, and a folder of images relative to the current one as absolute."""
    monkeypatch.chdir(tmp_path)
    rows = [{**one, "score": np.float32(0.5), "bbox": np.float32(one["bbox"]).tolist()} for one in results(0, 1.0)]
    write_run("a", name="a", seed=0, predictions=rows, ground_truth=ground_truth, images="images")
    assert {one["score"] for one in json.loads((tmp_path / "a" / "predictions.json").read_text())} == {0.5}
    assert yaml.safe_load((tmp_path / "a" / "run.yaml").read_text())["images"] == str(tmp_path / "images")
