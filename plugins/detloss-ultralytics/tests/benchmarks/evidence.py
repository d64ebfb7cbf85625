"""Train YOLO11n on synthetic images with the stock loss and two others, as runs for `detloss compare`.

``python evidence.py FOLDER [EPOCHS [SEEDS]]``, then ``detloss compare FOLDER/runs/*``. If AP stays below 0.2, the runs
say nothing about losses.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

LOSSES = {"stock": None, "giou": "giou", "nwd": "nwd"}


def main(folder: Path, epochs: int, seeds: int) -> None:
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from small_yolos import settings, write_shapes
    from ultralytics import YOLO

    from detloss.compare import from_ultralytics, write_run
    from detloss_ultralytics import use

    shapes = folder / "shapes"
    if not shapes.exists():
        write_shapes(shapes, train=400, val=200, size=64)
    for seed in range(seeds):
        for name, loss in LOSSES.items():
            run = folder / "runs" / f"{name}-{seed}"
            if run.exists():
                continue
            yolo = YOLO("yolo11n.yaml")
            if loss is not None:
                use(yolo, {"yolo": loss})
            start = time.monotonic()
            same = settings(shapes, folder / "ultralytics", batch=16)
            yolo.train(**same, epochs=epochs, seed=seed, name=f"{name}-{seed}", exist_ok=True, val=False)
            hours = (time.monotonic() - start) / 3600
            yolo.val(**same, save_json=True, name=f"val-{name}-{seed}", exist_ok=True)
            file = folder / "ultralytics" / f"val-{name}-{seed}" / "predictions.json"
            write_run(
                run,
                name=name,
                seed=seed,
                predictions=from_ultralytics(file, shapes / "val.json", names=yolo.names),
                ground_truth=shapes / "val.json",
                images=shapes / "images" / "val",
                model="yolo11n",
                hours=hours,
                settings={"epochs": epochs},
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int((sys.argv[2:3] or ["60"])[0]), int((sys.argv[3:4] or ["3"])[0]))
