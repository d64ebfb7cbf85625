"""How long `detloss list` takes, as a multiple of a Python that only imports rich and entrypoints.

Run ``python tests/benchmarks/startup.py [runs]``. Both are fresh processes, run in turn, with warm bytecode as an
installed package has it (kept in a temporary folder, so that an environment that writes none is measured alike). The
wanted ratio is at most 2.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "python, rich and entrypoints": ["-c", "import rich.console, rich.table, entrypoints"],
    "detloss list": ["-m", "detloss", "list"],
    "detloss list --json": ["-m", "detloss", "list", "--json"],
}


def main(runs: int = 30) -> None:
    """Print minimum, median and ratio of each command."""
    seconds: dict[str, list[float]] = {label: [] for label in COMMANDS}
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(runs + 1):
            for label, arguments in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
                if turn:  # the first turn writes the bytecode
                    seconds[label].append(time.perf_counter() - start)
    baseline = next(iter(seconds.values()))
    print(f"{'':30}{'min ms':>9}{'median ms':>11}{'ratio of min':>14}{'ratio of median':>17}")
    for label, times in seconds.items():
        low, middle = min(times), statistics.median(times)
        ratios = f"{low / min(baseline):14.2f}{middle / statistics.median(baseline):17.2f}"
        print(f"{label:30}{low * 1000:9.1f}{middle * 1000:11.1f}{ratios}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
