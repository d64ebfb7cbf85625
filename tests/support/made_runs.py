"""Folders as `detloss train` leaves them, with made-up detections of a chosen quality, and real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from runs import TINY

from detloss.compare.plan import Plan, load_compare, make_plan
from detloss.training import ShapesDataset
from detloss.training.folder import write_config
from detloss.training.settings import ShapesConfig

IMAGES = 30
SHAPES = {"train": 4, "val": IMAGES, "size": 64}


@cache
def truth() -> dict[str, Any]:
    """The validation data of all made runs."""
    return ShapesDataset(ShapesConfig(**SHAPES), "val").coco


def made_run(
    folder: Path,
    losses: Any = "giou",
    seed: int = 0,
    *,
    blur: float = 2.0,
    head: str = "roi_heads",
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a finished run whose boxes are off by about `blur` pixels, and return its folder.

    Args:
        folder: A new one.
        losses: Of `head`.
        seed: Of the run; it decides the detections too.
        blur: Standard deviation of each side.
        head: Where the losses are.
        changes: Other values in the sections of the config.
    """
    folder.mkdir(parents=True)
    config = {**TINY, "losses": {head: losses}, "data": {"shapes": SHAPES}, "num_classes": 4}
    config["train"] = {**TINY["train"], "seed": seed}
    for section, values in (changes or {}).items():
        config[section] = {**config[section], **values}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "predictions-val.json").write_text(json.dumps(blurred(seed, blur)))
    (folder / "metrics.json").write_text(json.dumps({"last": {"epoch": 2}}))
    lines = [{"epoch": 1, "step": 5, "train/loss": 1.0}, {"epoch": 1, "step": 6, "val/AP": 0.25}]
    lines += [{"epoch": 2, "step": 10, "train/loss": 0.5}, {"epoch": 2, "step": 12, "val/AP": 0.5}]
    timed = [
        {**line, "time": f"2026-01-01T00:00:{line['step']:02d}.000+00:00", "memory_mib": 100 + line["step"]}
        for line in lines
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timed))
    return folder


LOSSES = {
    "smooth_l1": {"name": "smooth_l1", "weight": 1.0, "gradient_ratio": 1.0, "label": "smooth_l1"},
    "mine": {"name": "giou", "weight": 8.0, "gradient_ratio": 0.5, "label": "mine"},
    "yours": {"name": "giou", "weight": 8.0, "gradient_ratio": 0.5, "label": "yours"},
}
"""Arms of planned runs, with all that is measured of a loss."""


def planned_runs(folder: Path, blur: Mapping[str, float], seeds: int, **changes: Any) -> Plan:
    """Plan a comparison in a new folder and write all its runs, finished.

    Args:
        folder: Holds the folder.
        blur: Of each arm, by a key of `LOSSES`.
        seeds: How many.
        changes: Of the `CompareConfig`.
    """
    base = {**TINY, "data": {"shapes": SHAPES}, "num_classes": 4}
    losses = [LOSSES[name] for name in blur]
    plan = make_plan(load_compare({"base": base, "losses": losses, "seeds": seeds, **changes}), folder / "comparison")
    for run in plan.runs:
        made_run(run.folder, seed=run.seed, blur=blur[run.arm.label])
        write_config(run.folder, run.config)
    return plan


def blurred(seed: int, blur: float) -> list[dict[str, Any]]:
    """COCO results: a box near each object, nine of ten of its class, and one box an image that shows nothing."""
    random = np.random.default_rng(seed)
    results = []
    for entry in truth()["annotations"]:
        box = (np.array(entry["bbox"]) + random.normal(0, 1, 4) * blur).clip(1)
        label = entry["category_id"] if random.uniform() < 0.9 else int(random.integers(1, 4))
        results.append((entry["image_id"], label, box, random.uniform(0.4, 1)))
    results += [
        (image["id"], int(random.integers(1, 4)), random.uniform(5, 30, 4), random.uniform(0, 0.7))
        for image in truth()["images"]
    ]
    return [
        {
            "image_id": image,
            "category_id": label,
            "bbox": [round(side, 2) for side in box.tolist()],
            "score": round(score, 5),
        }
        for image, label, box, score in results
    ]
