"""How long it takes to find the plugins among 1000 installed packages: detloss, importlib.metadata, entrypoints.

Run ``python tests/benchmarks/scan.py [packages]``. Each is timed in a fresh process on the same folder of packages, in
turn, and the best of `ROUNDS` is printed: once warm in the file cache, as it is for whoever calls twice. Wanted:
under 150 ms for 1000 packages, and neither torch nor anything of the packages imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7
EVERY = 20
"""One package in so many offers a loss."""

PROGRAM = """
import sys, time
folder = sys.argv[1]
{setup}
sys.path[:] = [folder]
start = time.perf_counter()
found = {call}
seconds = time.perf_counter() - start
imported = [name for name in sys.modules if name == "torch" or name.startswith("package_")]
print(seconds, len(found), ",".join(imported) or "nothing")
"""
READERS = {
    "detloss": ("from detloss.registry.scan import scan", "scan().plugins"),
    "importlib.metadata": ("from importlib import metadata", "metadata.entry_points(group='detloss.losses')"),
    "entrypoints": ("import entrypoints", "entrypoints.get_group_all('detloss.losses')"),
}
LISTED = """
import sys
sys.argv = ["detloss", "list", "--json"]
from detloss.cli import main
main()
imported = [name for name in sys.modules if name == "torch" or name.startswith("package_")]
print(",".join(imported) or "nothing", file=sys.stderr)
"""


def main(count: int = 1000) -> None:
    """Print the times on ``count`` packages."""
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), count)
        times: dict[str, list[float]] = {}
        said = {}
        for _ in range(ROUNDS):
            for name, (setup, call) in READERS.items():
                program = PROGRAM.format(setup=setup, call=call)
                seconds, found, imported = python("-c", program, folder).stdout.split()
                times.setdefault(name, []).append(float(seconds))
                said[name] = f"{found} losses; imported: {imported}"
            start = time.perf_counter()
            done = python("-c", LISTED, PYTHONPATH=folder)
            times.setdefault("detloss list --json", []).append(time.perf_counter() - start)
            said["detloss list --json"] = f"the whole process; imported: {done.stderr.strip()}"
    print(f"{count} packages, one in {EVERY} with a loss; best of {ROUNDS} fresh processes")
    for name, measured in times.items():
        print(f"{name:22}{min(measured) * 1000:8.1f} ms   {said[name]}")


def install(folder: Path, count: int) -> None:
    """Write packages as pip leaves them: metadata, a list of files, a command each, a loss in a few."""
    for number in range(count):
        info = folder / f"package_{number}-1.{number}.dist-info"
        info.mkdir()
        header = f"Metadata-Version: 2.1\nName: package-{number}\nVersion: 1.{number}\nSummary: One of many.\n"
        (info / "METADATA").write_text(f"{header}\n{'What it does.' * 200}\n", encoding="utf-8")
        (info / "RECORD").write_text(f"package_{number}/__init__.py,,\n" * 50, encoding="utf-8")
        entries = f"[console_scripts]\ncommand{number} = package_{number}.cli:main\n"
        if number % EVERY == 0:
            entries += f"\n[detloss.losses]\nloss_{number} = package_{number}:Loss\n"
            (folder / f"package_{number}.py").write_text("class Loss:\n    '''A loss.'''\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(entries, encoding="utf-8")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh Python and return what it printed."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={key: value for key, value in os.environ.items() if key != "DETLOSS_PLUGINS"} | environment,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
