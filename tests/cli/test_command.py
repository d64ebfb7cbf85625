from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("command", ["--help", "doctor --help", "shw"])
def test_help_without_rich(packages: Any, run_python: Callable[..., Any], command: str) -> None:
    """Where rich cannot be imported, help and usage errors are plain text."""
    packages.add("broken", modules={f"{name}.py": "raise RuntimeError" for name in ("rich", "rich_click")})
    done = run_python("-m", "detloss", *command.split(), PYTHONPATH=str(packages.folder))
    assert done.returncode == (2 if command == "shw" else 0)
    assert "Usage: detloss" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if command == "shw":
        assert "Did you mean 'show'?" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a pipe of POSIX")
@pytest.mark.parametrize("command", ["list", "--help"])
def test_a_reader_that_stops(command: str) -> None:
    """Where the reader of a pipe goes away early, a command ends without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "detloss", *command.split()]
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
