"""Runs as tasks of a Ray cluster, on one machine or many."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detloss.compare.engines import KILLED, tied
from detloss.compare.plan.compare_config import RayEngine
from detloss.errors import DetlossError
from detloss.text import one_line

_HOST_AND_PORT = re.compile(r"[^/]+:\d+")
_BETWEEN = 1.0
"""Seconds between two looks whether the cluster is there."""


class RayJobs:
    """Submits tasks to a cluster, or to Ray started on this machine.

    Args:
        settings: Address, cores and GPUs of a task.

    Raises:
        ImportError: ray is not installed.
        DetlossError: the cluster cannot be reached.
    """

    def __init__(self, settings: RayEngine) -> None:
        # Under `uv run`, Ray would send the current folder to all machines and start Python by uv there. Tasks are
        # commands with an interpreter of their own.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray  # noqa: PLC0415 - an extra

        try:
            if settings.address and _HOST_AND_PORT.fullmatch(settings.address):
                _reach(settings.address)  # Ray itself would try for minutes
            ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise DetlossError(
                f"Ray cannot be reached at {settings.address}: {one_line(error)}. Fix: start it: ray start --head"
            ) from error
        self._ray, self._looked = ray, 0.0
        self.address = str(ray.get_runtime_context().gcs_address)
        self._task = ray.remote(tied.run).options(
            num_cpus=settings.cpus, num_gpus=settings.gpus, resources=settings.resources, max_retries=0
        )

    def submit(self, command: Sequence[str], log: Path) -> RayJob:
        """Submit a task."""
        self.check()
        return RayJob(self, self._ray, self._task.remote(list(command), log))

    def attach(self, log: Path) -> None:
        """Return None: tasks end soon after the process that submitted them."""

    def check(self) -> None:
        """Check sometimes if the cluster exists.

        Ray itself would wait for it, and then end this process.

        Raises:
            DetlossError: it is not.
        """
        if time.monotonic() < self._looked + _BETWEEN:
            return
        self._looked = time.monotonic()
        try:
            _reach(self.address)
        except OSError as error:
            raise DetlossError(
                f"Ray at {self.address} has ended. The checkpoints of all runs are kept. Fix: start it again."
            ) from error

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


class RayJob:
    """A task of Ray's."""

    def __init__(self, jobs: RayJobs, ray: Any, reference: Any) -> None:
        self._jobs, self._ray, self._reference = jobs, ray, reference

    def done(self) -> bool:
        """Whether it has ended."""
        self._jobs.check()
        return bool(self._ray.wait([self._reference], timeout=0, fetch_local=False)[0])

    def result(self) -> int:
        """Wait for its end, and return the command's exit code."""
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.RayError:
            return KILLED

    def cancel(self) -> None:
        """End the worker: its child process then checkpoints and ends."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.cancel(self._reference, force=True)


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
