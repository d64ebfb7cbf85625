"""What comparing losses costs: k losses x S seeds in one `detloss compare`, against as many `detloss train` commands.

    python tests/benchmarks/compare.py [--losses smooth_l1,giou] [--seeds 3] [--epochs 2] [--images N | --data FOLDER]

`detloss compare` runs two jobs of one thread each; the separate commands run one after the other with the threads that
torch takes by itself, or `--at-once N` of them, each with its share of the cores. Both train by the same configs.
Without `--data`, a folder of images/, train.json, val.json and test.json, the images are synthetic. Prints the time of
each and the ratio. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from detloss.training import default_config

JOBS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", default="smooth_l1,giou", help="of the box head, joined by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=2000, help="synthetic images to train on")
    parser.add_argument("--data", type=Path, help="folder of COCO data in their place")
    parser.add_argument("--at-once", type=int, default=1, help="separate commands that run at the same time")
    options = parser.parse_args()
    losses = options.losses.split(",")
    # Modules are compiled and read from the disk for the first time.
    detloss(["train", "--print-default"])
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        content = config_of(options.data and options.data.absolute(), options.images, options.epochs)
        config.write_text(yaml.safe_dump(content))
        # Several at once share the cores.
        share = [] if options.at_once == 1 else [f"train.threads={max(1, (os.cpu_count() or 1) // options.at_once)}"]
        separate = [
            train(config, [f"losses.roi_heads={loss}", f"train.seed={seed}", "train.select=last", *share])
            for seed, loss in itertools.product(range(options.seeds), losses)
        ]
        asked = ["--losses", options.losses, "--seeds", str(options.seeds), "--jobs", str(JOBS), "--no-race"]
        together = ["compare", str(config), *asked, "--output", f"{folder}/compare"]
        slow = timed(f"{len(separate)} x detloss train, {options.at_once} at once", separate, options.at_once)
        fast = timed("detloss compare", [together], 1)
        print(
            f"\n{len(losses)} losses x {options.seeds} seeds: detloss compare takes {fast / slow:.2f} of the time of "
            "separate commands"
        )


def config_of(data: Path | None, images: int, epochs: int) -> dict[str, Any]:
    """The embedded config, shorter, or a Faster R-CNN on COCO data."""
    config: dict[str, Any] = yaml.safe_load(default_config())
    config["train"] |= {"epochs": epochs, "validate_every": epochs}
    config["data"]["shapes"] |= {"train": images, "test": config["data"]["shapes"]["val"]}
    if data is not None:
        split = {name: {"images": str(data / "images"), "annotations": str(data / f"{name}.json")} for name in SPLITS}
        options = {"min_size": 320, "max_size": 640, "box_batch_size_per_image": 128, "rpn_post_nms_top_n_test": 300}
        config |= {"backbone": "mobilenet_v2", "options": options, "data": split}
        config["train"] |= {"batch_size": 8, "lr": 5e-4}
    return config


SPLITS = ("train", "val", "test")


def train(config: Path, overrides: Sequence[str]) -> list[str]:
    """The command of a run beside its config."""
    folder = config.with_name(" ".join(overrides))
    return ["train", str(config), "--output", str(folder), *(part for each in overrides for part in ("--set", each))]


def timed(name: str, commands: Sequence[Sequence[str]], at_once: int) -> float:
    """Run commands, print how long they take, and return the seconds."""
    begun, used = time.monotonic(), cpu_seconds()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(detloss, commands))
    seconds = time.monotonic() - begun
    print(f"{name:<34} {seconds:7.1f} s, {cpu_seconds() - used:7.1f} s of CPU", flush=True)
    return seconds


def cpu_seconds() -> float:
    """Of all child processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def detloss(arguments: Sequence[str]) -> None:
    """Run a command with the threads that it takes by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "detloss", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
