"""Time of a training step with the stock loss and with losses of detloss: ``python step.py [NAME ...]``.

Steps of all of them take turns, so that a busy machine is busy for each; the median of each is printed, and the median
of its quotient to the stock step beside it.
"""

from __future__ import annotations

import copy
import sys
import time
from statistics import median
from typing import Any

import torch
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from detloss import inject
from detloss_ultralytics.examples import small

STEPS, IMAGES, SIZE, OBJECTS = 20, 4, 256, 20


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    for name in names:
        head = "yolo_rtdetr" if "rtdetr" in name else "yolo"
        stock = small(RTDETRDetectionModel if "rtdetr" in name else DetectionModel, name).train()
        models = {"stock": stock} | {
            loss: inject(copy.deepcopy(stock), {head: loss}) for loss in ("ciou", "giou", "nwd", "wiou")
        }
        taken: dict[str, list[float]] = {key: [] for key in models}
        for number in range(STEPS + 2):
            batch = images(number)
            for key, model in models.items():
                torch.manual_seed(number)
                seconds = step(model, batch)
                if number >= 2:
                    taken[key].append(seconds)
        for key, times in taken.items():
            quotient = median(one / other for one, other in zip(times, taken["stock"], strict=True))
            print(f"{name:16} {key:6} {1000 * median(times):7.1f} ms  {quotient:.3f} of stock")


def images(seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    count = IMAGES * OBJECTS
    return {
        "img": torch.rand(IMAGES, 3, SIZE, SIZE, generator=random),
        "batch_idx": torch.arange(IMAGES).repeat_interleave(OBJECTS).float(),
        "cls": torch.randint(3, (count, 1), generator=random).float(),
        "bboxes": torch.rand(count, 4, generator=random) * 0.3 + 0.2,
    }


def step(model: Any, batch: dict[str, torch.Tensor]) -> float:
    start = time.perf_counter()
    total, _ = model(batch)
    total.sum().backward()
    model.zero_grad()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:] or ["yolo11n", "yolo26n", "yolov8n-rtdetr"])
