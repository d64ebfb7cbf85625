"""Train a small RT-DETR on synthetic images with the stock loss and two others, as runs for `detloss compare`.

``python evidence.py FOLDER [EPOCHS [SEEDS]]``, then ``detloss compare FOLDER/runs/*``. If AP stays below 0.2, the runs
say nothing about losses.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import trange
from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor, RTDetrResNetConfig

from detloss import inject
from detloss.compare import from_transformers, write_run
from detloss.training import ShapesDataset
from detloss.training.settings import ShapesConfig

LOSSES = {"stock": None, "ciou": "ciou", "nwd": "nwd"}
SHAPES = ShapesConfig(train=1500, val=200, size=64)
BATCH, RATE = 16, 1e-3


def main(folder: Path, epochs: int, seeds: int) -> None:
    train, val = ShapesDataset(SHAPES, "train"), ShapesDataset(SHAPES, "val")
    folder.mkdir(parents=True, exist_ok=True)
    truth = folder / "val.json"
    truth.write_text(json.dumps(val.coco))
    images, labels = _pixels(train), _labels(train)
    for seed in range(seeds):
        for name, loss in LOSSES.items():
            run = folder / "runs" / f"{name}-{seed}"
            if run.exists():
                continue
            torch.manual_seed(seed)
            model = small_rt_detr(val.categories)
            if loss is not None:
                inject(model, {"rt_detr": loss})
            start = time.monotonic()
            fit(model, images, labels, epochs, f"{name}, seed {seed}")
            hours = (time.monotonic() - start) / 3600
            write_run(
                run,
                name=name,
                seed=seed,
                predictions=predict(model, val, truth),
                ground_truth=truth,
                model="small RT-DETR",
                hours=hours,
                settings={"epochs": epochs},
            )


def small_rt_detr(categories: tuple[str, ...]) -> RTDetrForObjectDetection:
    """Return a model of 0.7 million random weights."""
    widths = [24, 48, 64, 96]
    backbone = RTDetrResNetConfig(
        embedding_size=widths[0],
        hidden_sizes=widths,
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,
        id2label=dict(enumerate(categories)),
        d_model=64,
        encoder_hidden_dim=64,
        encoder_in_channels=widths[1:],
        encoder_ffn_dim=128,
        encoder_attention_heads=4,
        hidden_expansion=0.5,
        decoder_in_channels=[64, 64, 64],
        decoder_ffn_dim=128,
        decoder_attention_heads=4,
        decoder_layers=2,
        num_queries=24,
        num_denoising=24,
    )
    return RTDetrForObjectDetection(config)


def fit(model: Any, images: Tensor, labels: list[dict[str, Tensor]], epochs: int, title: str) -> None:
    """Train; half of the images are mirrored."""
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps, pct_start=0.1)
    model.train()
    for _ in trange(epochs, desc=title):
        order = torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH)
        for batch in order.tolist():
            mirrored = [bool(torch.rand(()) < 0.5) for _ in batch]
            pixels = [images[at].flip(-1) if flip else images[at] for at, flip in zip(batch, mirrored, strict=True)]
            wanted = [_mirror(labels[at]) if flip else labels[at] for at, flip in zip(batch, mirrored, strict=True)]
            optimizer.zero_grad()
            model(pixel_values=torch.stack(pixels), labels=wanted).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def predict(model: Any, data: ShapesDataset, truth: Path) -> list[dict[str, Any]]:
    """Return all boxes in the format of COCO."""
    model.eval()
    records = data.coco["images"]
    sizes = [(record["height"], record["width"]) for record in records]
    outputs = model(pixel_values=_pixels(data))
    results = RTDetrImageProcessor().post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
    names = [record["file_name"] for record in records]
    return from_transformers(results, names, truth, names=model.config.id2label)


def _pixels(data: ShapesDataset) -> Tensor:
    return torch.stack([data.image(index) for index in range(len(data))]) / 255


def _labels(data: ShapesDataset) -> list[dict[str, Tensor]]:
    found: dict[int, list[list[float]]] = {record["id"]: [] for record in data.coco["images"]}
    for one in data.coco["annotations"]:
        x, y, width, height = one["bbox"]
        found[one["image_id"]].append([one["category_id"] - 1, x + width / 2, y + height / 2, width, height])
    rows = [torch.tensor(each, dtype=torch.float32).view(-1, 5) for each in found.values()]
    return [{"class_labels": row[:, 0].long(), "boxes": row[:, 1:] / SHAPES.size} for row in rows]


def _mirror(labels: dict[str, Tensor]) -> dict[str, Tensor]:
    x, rest = labels["boxes"].split((1, 3), dim=1)
    return labels | {"boxes": torch.cat([1 - x, rest], dim=1)}


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int((sys.argv[2:3] or ["30"])[0]), int((sys.argv[3:4] or ["1"])[0]))
