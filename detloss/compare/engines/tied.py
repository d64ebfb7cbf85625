"""Runs a Python module in a process that ends with its parent.

``python -m detloss.compare.engines.tied MODULE ARGUMENTS...`` is ``python -m MODULE ARGUMENTS...``, except that at
the end of its stdin, a pipe that the starting process holds open, it gets a SIGTERM, and later a SIGKILL.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL: time to end a step and to write a checkpoint."""


def start(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``python -m MODULE ARGUMENTS...`` so that it ends with this process.

    It also ends when its stdin is closed.

    Args:
        command: Its first item is the interpreter, its second ``-m``.
        log: File to which all that it prints is added.
        environment: Variables besides those of this process.
    """
    python, flag, *module = command
    with log.open("ab") as output:
        return subprocess.Popen(
            [python, flag, __name__, *module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C is for the one who started it, who then asks it to stop
        )


def run(command: Sequence[str], log: Path) -> int:
    """Run a command this way and return its exit code.

    It is negative if a signal ended it.
    """
    with start(command, log) as process:
        return process.wait()


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
