"""A command with its output on a pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def in_terminal(*arguments: str, columns: int = 80, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run detloss with stdout and stderr on a pseudo-terminal; what it showed is ``stdout``."""
    if sys.platform == "win32":
        pytest.skip("there is no pseudo-terminal on Windows")
    reader, writer = os.openpty()
    command = [sys.executable, "-m", "detloss", *arguments]
    # Without LINES, rich takes a dumb terminal for one of 80 columns.
    kept = {**os.environ, "COLUMNS": str(columns), "LINES": "25", "TERM": "xterm", **environment}
    with subprocess.Popen(command, stdout=writer, stderr=writer, env=kept) as process:
        os.close(writer)
        data = b""
        while True:
            try:
                chunk = os.read(reader, 65536)
            except OSError:  # Linux reports the other side's end as an error
                break
            if not chunk:
                break
            data += chunk
    os.close(reader)
    return subprocess.CompletedProcess(command, process.returncode, data.decode())
