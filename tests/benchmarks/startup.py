"""CPU seconds of commands that should start quickly, next to those of only importing the libraries they need.

Run ``python tests/benchmarks/startup.py [runs]``. All are fresh processes, run in turn, with warm bytecode as an
installed package has it (kept in a temporary folder, so that an environment that writes none is measured alike).
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = {
    "rich and entrypoints": "import rich.console, rich.table, entrypoints",
    "torch": "import torch",
    "torch and torchvision": "import torch, torchvision",
    "the same and Lightning": "import torch, torchvision, pytorch_lightning",
}
MODEL = "model: fasterrcnn\nbackbone: mobilenet_v2\nnum_classes: 4\nlosses: {roi_heads: giou}\n"
CONFIGS = {"model.yaml": MODEL, "train.yaml": MODEL + "data: {shapes: {train: 8, val: 4}}\n"}
COMMANDS = {
    "list": "rich and entrypoints",
    "list --json": "rich and entrypoints",
    "show giou": "torch",
    "validate model.yaml": "torch and torchvision",
    "validate --no-data train.yaml": "torch and torchvision",
    "validate train.yaml": "the same and Lightning",
}
"""Arguments of detloss -> the libraries that the command needs."""


def main(runs: int = 5) -> None:
    """Print median and spread of each, and the share of the libraries."""
    programs = {label: ["-c", program] for label, program in LIBRARIES.items()}
    programs |= {arguments: ["-m", "detloss", *arguments.split()] for arguments in COMMANDS}
    seconds: dict[str, list[float]] = {label: [] for label in programs}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in CONFIGS.items():
            Path(folder, name).write_text(text)
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(runs + 1):
            for label, arguments in programs.items():
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, *arguments]
                subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                if turn:  # the first turn writes the bytecode
                    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    seconds[label].append(used)
    print("| command | CPU seconds: median (least to greatest) | only importing | CPU seconds | ratio |")
    print("|---|---|---|---|---|")
    for command, libraries in COMMANDS.items():
        own, base = statistics.median(seconds[command]), statistics.median(seconds[libraries])
        spread = f"{own:.2f} ({min(seconds[command]):.2f} to {max(seconds[command]):.2f})"
        print(f"| `detloss {command}` | {spread} | {libraries} | {base:.2f} | {own / base:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
