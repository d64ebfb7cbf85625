"""What an evaluation costs besides inference: synthetic numbers of the size of COCO's validation data.

    python tests/benchmarks/evaluation.py [--images 5000] [--rounds 5]

Prints the CPU seconds from a detector's output to the numbers of the printed table, and those of its parts; 2 seconds
are wanted. Writing the detections as COCO results is optional for `detloss evaluate`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detloss.training.evaluation import Detections, evaluate_in_detail

CLASSES = 80
OBJECTS = 7.36
"""Mean objects of an image: COCO's 36,781 in 5,000."""
SIZE = np.array([640.0, 480.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    coco = ground_truth(rng, options.images)
    outputs = detected(rng, coco)
    found = [Detections.from_output(number, output) for number, output in enumerate(outputs, start=1)]
    ids = {label: label for label in range(1, CLASSES + 1)}
    parts: dict[str, Callable[[], Any]] = {
        "outputs to arrays": lambda: [Detections.from_output(n, one) for n, one in enumerate(outputs, start=1)],
        "arrays to numbers": lambda: evaluate_in_detail(coco, found),
        "arrays to JSON of COCO results": lambda: json.dumps([row for one in found for row in one.results(0, ids)]),
    }
    count = sum(len(one.scores) for one in found)
    print(f"{options.images:,} images, {len(coco['annotations']):,} objects, {count:,} detections")
    for name, part in parts.items():
        taken = sorted(cpu_seconds(part) for _ in range(options.rounds))
        print(f"{name:>32}: median {statistics.median(taken):.2f} s, from {taken[0]:.2f} to {taken[-1]:.2f}")


def cpu_seconds(part: Callable[[], Any]) -> float:
    start = time.process_time()
    part()
    return time.process_time() - start


def ground_truth(rng: np.random.Generator, images: int) -> dict[str, Any]:
    number = round(OBJECTS * images)
    owners, labels = rng.integers(1, images + 1, number).tolist(), rng.integers(1, CLASSES + 1, number).tolist()
    boxes = np.concatenate(placed(rng, number), axis=1)
    return {
        "images": [{"id": image} for image in range(1, images + 1)],
        "categories": [{"id": label, "name": f"class {label}"} for label in range(1, CLASSES + 1)],
        "annotations": [
            {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for image, label, box in zip(owners, labels, boxes.tolist(), strict=True)
        ],
    }


def detected(rng: np.random.Generator, coco: dict[str, Any]) -> list[dict[str, Tensor]]:
    """Most objects of each image, a little moved, and up to 100 boxes in all."""
    objects: dict[int, list[Any]] = {image["id"]: [] for image in coco["images"]}
    for entry in coco["annotations"]:
        objects[entry["image_id"]].append((entry["category_id"], entry["bbox"]))
    outputs = []
    for own in objects.values():
        number = int(rng.integers(10, 101))
        corners, sizes = placed(rng, number)
        labels = rng.integers(1, CLASSES + 1, number)
        for row, (label, box) in enumerate(own[:number]):
            labels[row], sizes[row] = label, box[2:]
            corners[row] = np.array(box[:2]) + rng.normal(0, 0.05, 2) * sizes[row]
        boxes = torch.tensor(np.concatenate([corners, corners + sizes], axis=1), dtype=torch.float32)
        outputs.append({"boxes": boxes, "scores": torch.rand(number), "labels": torch.tensor(labels)})
    return outputs


def placed(rng: np.random.Generator, number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    sizes = np.exp(rng.normal(4, 1, (number, 2))).clip(4, 400)
    return rng.uniform(0, 1, (number, 2)) * (SIZE - sizes).clip(0), sizes


if __name__ == "__main__":
    main()
