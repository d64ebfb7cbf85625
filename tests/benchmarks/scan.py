"""How long it takes to find the plugins among 1000 installed packages, nothing imported.

Run ``python tests/benchmarks/scan.py [packages]``. Wanted: under 150 ms for 1000 packages, and no torch.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from detloss.registry import scan


def main(count: int = 1000) -> None:
    """Print the time of a scan of ``count`` packages, every hundredth of which offers a loss."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            info = Path(folder, f"package_{number}-1.{number}.dist-info")
            info.mkdir()
            header = f"Metadata-Version: 2.1\nName: package-{number}\nVersion: 1.{number}\nSummary: One of many.\n"
            (info / "METADATA").write_text(header, encoding="utf-8")
            entries = f"[console_scripts]\ncommand{number} = package_{number}.cli:main\n"
            if number % 100 == 0:
                entries += f"\n[detloss.losses]\nloss_{number} = package_{number}:Loss\n"
            (info / "entry_points.txt").write_text(entries, encoding="utf-8")
        times = []
        for _ in range(7):
            start = time.perf_counter()
            found = scan(path=[folder])
            times.append(time.perf_counter() - start)
    print(f"{count} packages, {len(found.plugins)} losses: {min(times) * 1000:.1f} ms (best of {len(times)})")
    print(f"torch was imported: {'torch' in sys.modules}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
