"""COCO's numbers, compared with pycocotools."""

from __future__ import annotations

import copy
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detloss.training.data.dataset import CocoDataset
from detloss.training.evaluation import METRICS, Detections, coco_from_targets, evaluate_boxes

BCCD = Path(__file__).parents[3] / "shared" / "data" / "bccd"


def pycocotools_numbers(coco: dict[str, Any], detections: list[Detections]) -> list[float]:
    """The twelve numbers by pycocotools."""
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(coco)
        truth.createIndex()
        found = truth.loadRes(np.concatenate([entry.rows() for entry in detections]))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def jittered(coco: dict[str, Any], seed: int) -> list[Detections]:
    """Detections as a mediocre model makes them: moved, doubled, missed, mislabelled and invented boxes."""
    random = np.random.default_rng(seed)
    labels = [category["id"] for category in coco["categories"]]
    detections = []
    for image in coco["images"]:
        rows = []
        for entry in coco["annotations"]:
            if entry["image_id"] != image["id"]:
                continue
            for _ in range(random.integers(0, 3)):
                x, y, width, height = entry["bbox"]
                noise = random.normal(0, 0.15, 4) * [width, height, width, height]
                label = entry["category_id"] if random.uniform() < 0.8 else random.choice(labels)
                rows.append([*(np.array([x, y, x + width, y + height]) + noise), random.uniform(), label])
        for _ in range(random.integers(0, 4)):
            x, y, width, height = random.uniform(1, 60, 4)
            rows.append([x, y, x + width, y + height, random.uniform(0, 0.5), random.choice(labels)])
        table = np.array(rows, dtype=np.float32).reshape(-1, 6)
        detections.append(Detections(image["id"], table[:, :4], table[:, 4], table[:, 5].astype(np.int64)))
    return detections


def random_truth(seed: int) -> dict[str, Any]:
    """Twenty pictures with objects of all sizes, crowds among them; every fourth picture has none."""
    random = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(1, 21):
        for _ in range(0 if image % 4 == 0 else random.integers(1, 8)):
            x, y = random.uniform(0, 200, 2)
            width, height = random.choice([12, 50, 150]) * random.uniform(0.7, 1.4, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(random.integers(1, 4)),
                    "bbox": [float(x), float(y), float(width), float(height)],
                    "area": float(width * height),
                    "iscrowd": int(random.uniform() < 0.15),
                }
            )
    return {
        "info": {},
        "images": [{"id": image, "width": 400, "height": 400} for image in range(1, 21)],
        "annotations": annotations,
        "categories": [{"id": label, "name": f"c{label}"} for label in (1, 2, 3)],
    }


@pytest.mark.parametrize("seed", range(5))
def test_numbers_equal_pycocotools(seed):
    """All twelve numbers equal pycocotools', with crowds, pictures without objects and pictures without detections."""
    truth = random_truth(seed)
    detections = jittered(truth, seed)
    assert any(entry["iscrowd"] for entry in truth["annotations"])
    ours = evaluate_boxes(truth, detections)
    expected = pycocotools_numbers(truth, detections)
    assert [ours[name] for name in METRICS] == pytest.approx(expected, abs=1e-9)
    assert 0.05 < ours["AP"] < 0.95


@pytest.mark.skipif(not BCCD.is_dir(), reason="the images of blood cells are not next to the repository")
def test_numbers_equal_pycocotools_on_real_annotations():
    """On the real annotations of 87 photographs the twelve numbers equal pycocotools' on the same file."""
    truth = CocoDataset(BCCD / "images", BCCD / "val.json").coco
    detections = jittered(truth, 0)
    ours = evaluate_boxes(truth, detections)
    assert [ours[name] for name in METRICS] == pytest.approx(pycocotools_numbers(truth, detections), abs=1e-9)


def test_written_detections_give_the_same_numbers():
    """COCO results hold exactly what is measured: their rows are those of the detections."""
    detections = jittered(random_truth(0), 0)
    written = json.loads(json.dumps([one for each in detections for one in each.results(each.image_id, IDS)]))
    rows = [[one["image_id"], *one["bbox"], one["score"], one["category_id"]] for one in written]
    assert len(rows) > 50
    assert np.array_equal(np.array(rows), np.concatenate([each.rows() for each in detections]))


IDS = {1: 1, 2: 2, 3: 3}


def test_perfect_detections_have_ap_1():
    """Ground truth as detections gives 1, and -1 for sizes that do not occur."""
    truth = random_truth(0)
    truth["annotations"] = [
        {**entry, "iscrowd": 0, "bbox": [10, 10, 20, 20], "area": 400} for entry in truth["annotations"][:1]
    ]
    label = truth["annotations"][0]["category_id"]
    image = truth["annotations"][0]["image_id"]
    found = [Detections(image, np.array([[10, 10, 30, 30]], np.float32), np.ones(1, np.float32), np.array([label]))]
    numbers = evaluate_boxes(truth, found)
    assert numbers["AP"] == pytest.approx(1)
    assert numbers["APs"] == pytest.approx(1)
    assert numbers["APl"] == -1
    assert numbers[f"AP/c{label}"] == pytest.approx(1)


@pytest.mark.parametrize("segmentation", [[1, 2, 3, 4, 5, 6], [[1, 2], [3, 4]], None, "a", {"counts": 3}])
def test_a_segmentation_is_never_read(segmentation):
    """Box metrics are the same whatever an annotation's segmentation holds."""
    truth = random_truth(0)
    detections = jittered(truth, 0)
    expected = evaluate_boxes(truth, detections)
    for entry in truth["annotations"]:
        entry["segmentation"] = segmentation
    assert evaluate_boxes(truth, detections) == expected


def test_no_detection_at_all_has_ap_0():
    """A model that finds nothing gets 0, not an error."""
    truth = random_truth(0)
    nothing = [
        Detections(image["id"], np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        for image in truth["images"]
    ]
    assert evaluate_boxes(truth, nothing)["AP"] == 0


def test_no_object_at_all_has_ap_minus_1():
    """Ground truth without objects gives -1, as in pycocotools."""
    truth = {**random_truth(0), "annotations": []}
    assert evaluate_boxes(truth, jittered(random_truth(0), 0))["AP"] == -1


def test_only_seen_pictures_count():
    """Objects of pictures that were not evaluated are no misses."""
    truth = random_truth(0)
    first = [entry for entry in truth["annotations"] if entry["image_id"] == 1 and not entry["iscrowd"]]
    boxes = np.array([entry["bbox"] for entry in first], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([entry["category_id"] for entry in first])
    found = [Detections(1, boxes, np.ones(len(first), np.float32), labels)]
    assert evaluate_boxes(truth, found)["AP"] == pytest.approx(1)


def test_targets_can_be_the_ground_truth():
    """A data set without a COCO dictionary is evaluated against its targets, crowds included."""
    targets = [
        {
            "image_id": torch.tensor(5),
            "boxes": torch.tensor([[10.0, 10, 30, 40], [50, 50, 90, 90]]),
            "labels": torch.tensor([2, 1]),
            "iscrowd": torch.tensor([0, 1]),
        },
        {"image_id": torch.tensor(3), "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    truth = coco_from_targets(targets)
    assert truth["annotations"] == [
        {"id": 1, "image_id": 5, "category_id": 2, "bbox": [10, 10, 20, 30], "area": 600, "iscrowd": 0},
        {"id": 2, "image_id": 5, "category_id": 1, "bbox": [50, 50, 40, 40], "area": 1600, "iscrowd": 1},
    ]
    found = [
        Detections(5, np.array([[10, 10, 30, 40]], np.float32), np.ones(1, np.float32), np.array([2])),
        Detections(3, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)),
    ]
    # Label 1 has a crowd only, so there is nothing to find: the mean is over label 2 alone.
    assert evaluate_boxes(truth, found)["AP"] == pytest.approx(1)
