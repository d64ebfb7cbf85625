"""A command with its output on a pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import killed
import pytest


def in_terminal(
    *arguments: str, columns: int = 80, at_once: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run detloss with stdout and stderr on a pseudo-terminal; what it showed is ``stdout``.

    Args:
        *arguments: The command's.
        columns: Width of the terminal.
        at_once: In a fork of a process that has imported everything.
        **environment: More environment variables.
    """
    if sys.platform == "win32":
        pytest.skip("there is no pseudo-terminal on Windows")
    reader, writer = os.openpty()
    shown = bytearray()
    reading = threading.Thread(target=_read, args=(reader, shown))
    reading.start()
    # Without LINES, rich takes a dumb terminal for one of 80 columns.
    terminal = {"COLUMNS": str(columns), "LINES": "25", "TERM": "xterm", **environment}
    command = [sys.executable, "-m", "detloss", *arguments]
    if at_once:
        process = killed.start([*arguments], Path(os.ttyname(writer)), **terminal)
        process.join(timeout=120)
        code = process.exitcode
    else:
        code = subprocess.run(
            command, stdout=writer, stderr=writer, env={**os.environ, **terminal}, check=False
        ).returncode
    os.close(writer)
    reading.join()
    os.close(reader)
    return subprocess.CompletedProcess(command, -1 if code is None else code, shown.decode())


def _read(reader: int, shown: bytearray) -> None:
    while True:
        try:
            chunk = os.read(reader, 65536)
        except OSError:  # Linux reports the other side's end as an error
            return
        if not chunk:
            return
        shown += chunk
