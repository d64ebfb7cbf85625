"""What reading a large COCO annotation file costs, beside `json.load` of the same file.

    python tests/benchmarks/annotations.py [--annotations 1000000] [--images 118000] [--points 0]

Each reader is a fresh process (on Linux). Prints the CPU seconds of the reading, and the peak memory above that of a
process that has only imported the reader. The images are empty files: reading looks if each is there. With
`--points 25` each annotation has a polygon of so many points, as in COCO; a model without masks does not read them.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

READERS = {
    "json.load": ("import json", "json.loads(file.read_bytes())"),
    "detloss": (
        "from detloss.training.data.coco import read_annotations",
        "read_annotations(file, images)",
    ),
    "detloss, data set": (
        "from detloss.training import CocoDataset",
        "CocoDataset(images, file)",
    ),
}
PROGRAM = """
import sys, time
from pathlib import Path
{setup}
file, images = map(Path, sys.argv[1:])
def peak():
    # Not getrusage: its peak includes that of the process before exec.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10
before, start = peak(), time.process_time()
found = {call}
print(time.process_time() - start, peak() - before)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--points", type=int, default=0, help="points of each polygon")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder), options.images, options.annotations, options.points)
        size = file.stat().st_size
        print(f"{options.annotations:,} annotations of {options.images:,} images, {size / 2**20:.0f} MiB of JSON")
        for name, (setup, call) in READERS.items():
            program = PROGRAM.format(setup=setup, call=call)
            done = subprocess.run(
                [sys.executable, "-c", program, str(file), folder], capture_output=True, text=True, check=True
            )
            seconds, mebibytes = done.stdout.split()
            print(f"{name:>20}: {float(seconds):6.2f} CPU seconds, peak {mebibytes:>6} MiB", flush=True)


def write(folder: Path, images: int, annotations: int, points: int) -> Path:
    """Write the file, and the images that it lists."""
    rng = random.Random(0)
    for number in range(images):
        (folder / f"{number:012d}.jpg").touch()
    content = {
        "images": [
            {"id": number, "file_name": f"{number:012d}.jpg", "width": 640, "height": 480} for number in range(images)
        ],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(80)],
        "annotations": [entry(number, rng, images, points) for number in range(annotations)],
    }
    file = folder / "annotations.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def entry(number: int, rng: random.Random, images: int, points: int) -> dict[str, object]:
    width, height = rng.uniform(4, 320), rng.uniform(4, 240)
    box = [round(value, 2) for value in (rng.uniform(0, 640 - width), rng.uniform(0, 480 - height), width, height)]
    polygon = [round(rng.uniform(0, 480), 2) for _ in range(2 * points)]
    return {
        "id": number,
        "image_id": rng.randrange(images),
        "category_id": rng.randrange(80),
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
        **({"segmentation": [polygon]} if points else {}),
    }


if __name__ == "__main__":
    main()
