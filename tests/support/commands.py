"""Other programs, run to their end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command, which must succeed, and return what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
