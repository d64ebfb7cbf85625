"""Runs as jobs of a Slurm cluster, which outlive this process.

They are found again by the id in their folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detloss.compare.engines import KILLED, tied
from detloss.compare.plan.compare_config import SlurmEngine
from detloss.training.folder import write_text

_JOB = "job.json"
"""Which job was submitted last for a run, in its folder."""


class SlurmJobs:
    """Submits jobs with submitit.

    Args:
        settings: Cores, GPUs and time of a job.
        folder: Where submitit keeps its files.

    Raises:
        ImportError: submitit is not installed.
    """

    def __init__(self, settings: SlurmEngine, folder: Path) -> None:
        import submitit  # noqa: PLC0415 - an extra

        self._cluster, self._folder = settings.cluster, folder
        self._executor = submitit.AutoExecutor(folder=folder, cluster=settings.cluster)
        self._executor.update_parameters(
            name="detloss",
            timeout_min=settings.minutes,
            cpus_per_task=settings.cpus,
            gpus_per_node=settings.gpus,
            **settings.parameters,
        )

    def submit(self, command: Sequence[str], log: Path) -> SlurmJob:
        """Submit a job, and write its id next to its log."""
        job = self._executor.submit(tied.run, list(command), log)
        write_text(log.with_name(_JOB), json.dumps({"cluster": self._cluster, "id": job.job_id}) + "\n")
        return SlurmJob(job)

    def attach(self, log: Path) -> SlurmJob | None:
        """The job whose id is next to this log, if still active."""
        import submitit  # noqa: PLC0415 - as above

        file = log.with_name(_JOB)
        record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if record.get("cluster") != self._cluster:
            return None
        if self._cluster == "slurm":
            job = SlurmJob(submitit.SlurmJob(self._folder, record["id"]))
        else:
            job = SlurmJob(submitit.LocalJob(self._folder, record["id"]), process=int(record["id"]))
        return None if job.done() else job

    def close(self) -> None:
        """There is nothing to give back."""


class SlurmJob:
    """A job of submitit's.

    Args:
        job: It.
        process: Id of its process where another one than this started it on this machine.
    """

    def __init__(self, job: Any, process: int | None = None) -> None:
        self._job, self._process = job, process

    def done(self) -> bool:
        """Whether it has ended."""
        return not _runs(self._process) if self._process is not None else bool(self._job.done())

    def result(self) -> int:
        """Wait for its end, and return the command's exit code."""
        try:
            return int(self._job.result())
        except Exception:  # noqa: BLE001 - submitit has one of its own for each way a job is lost, and none says more
            return KILLED

    def cancel(self) -> None:
        """Cancel it: Slurm sends SIGTERM, and SIGKILL after a while."""
        self._job.cancel()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
