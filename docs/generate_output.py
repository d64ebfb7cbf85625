"""Rewrites every console block under ``<!-- generated -->`` in README and docs.

    python docs/generate_output.py [--check]

Such a block holds one command line, ``$ detloss ...``, and what that prints to a pipe; ``| head -N`` at its end keeps
the first lines. ``--check`` writes nothing and exits with 1 where a file is out of date.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=<!-- generated -->\n```console\n)\$ (?P<command>.*)\n(?:.*\n)*?(?=```\n)")


def main() -> int:
    """Rewrite or check all files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args().check
    stale = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if update(path, check)]
    for path in stale:
        print(f"{'out of date' if check else 'rewritten'}: {path.relative_to(ROOT)}")
    return int(check and bool(stale))


def update(path: Path, check: bool) -> bool:
    """Return if the file was out of date; rewrite it unless checking."""
    text = path.read_text(encoding="utf-8")
    fresh = BLOCK.sub(lambda match: f"$ {match['command']}\n{output(match['command'])}", text)
    if fresh != text and not check:
        path.write_text(fresh, encoding="utf-8")
    return fresh != text


def output(command: str) -> str:
    """Return what the command prints, without trailing spaces."""
    command, _, kept = command.partition(" | head -")
    program, *arguments = shlex.split(command)
    if program != "detloss":
        raise SystemExit(f"a generated block runs detloss, not {program!r}")
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "detloss", *arguments],
        capture_output=True,
        check=True,
        cwd=ROOT / "docs",
        encoding="utf-8",
        env=environment | {"PYTHONIOENCODING": "utf-8"},
    )
    lines = done.stdout.splitlines()[: int(kept) if kept else None]
    return "".join(f"{line.rstrip()}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
