"""Runs as child processes, which end with this one and checkpoint first."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from detloss.compare.engines import tied
from detloss.training.data.decoded import VARIABLE


class LocalJobs:
    """Starts child processes at once.

    Args:
        images: Folder in which the children share decoded images; it is removed at the end.
        gpus: GPUs as CUDA_VISIBLE_DEVICES names them; each child sees one of them, or, where there is none, what this
            process sees.
    """

    def __init__(self, images: Path, gpus: Sequence[str] = ()) -> None:
        self._images, self._gpus = images, gpus
        self._running: list[LocalJob] = []

    def submit(self, command: Sequence[str], log: Path) -> LocalJob:
        """Start a child process."""
        self._running = [job for job in self._running if not job.done()]
        taken = [job.gpu for job in self._running]
        gpu = min(self._gpus, key=taken.count, default=None)
        environment = {VARIABLE: str(self._images)}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        self._running.append(LocalJob(tied.start(command, log, environment), gpu))
        return self._running[-1]

    def attach(self, log: Path) -> None:
        """No child outlives its parent."""

    def close(self) -> None:
        """Remove the decoded images."""
        shutil.rmtree(self._images, ignore_errors=True)


class LocalJob:
    """A child process."""

    def __init__(self, process: subprocess.Popen[bytes], gpu: str | None) -> None:
        self._process, self.gpu = process, gpu

    def done(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def result(self) -> int:
        """Wait for its end, and return its exit code."""
        with self._process:  # closes the pipe
            return self._process.wait()

    def cancel(self) -> None:
        """Ask it to end: it may finish its step or evaluation first."""
        self._process.terminate()


def visible_gpus(count: int) -> list[str]:
    """Names of this process's GPUs."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return names[:count] if names != [""] else [str(index) for index in range(count)]
