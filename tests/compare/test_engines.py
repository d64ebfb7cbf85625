"""Comparisons whose driver, runs and cluster are killed: resumed, they end as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from tiny_comparisons import (
    Forked,
    assert_once,
    drive,
    driver_log,
    plan,
    processes,
    states,
    wait_for_lines,
    wait_for_the_end,
)

from detloss import DetlossError
from detloss.compare.comparing import analyzed
from detloss.compare.driver import run_plan
from detloss.compare.plan import Plan, Run
from detloss.training import train

pytestmark = pytest.mark.slow

EVERY_STEP = ["train.checkpoint_every=1", "train.epochs=3"]
"""Each step is kept: a run that is killed often still gets on."""
LINES = 3 * (6 + 1)
"""That such a run writes into its metrics."""
ROOT = Path(sys.executable).parent


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By arm, the folder of its run by itself."""
    folder = tmp_path_factory.mktemp("undisturbed")
    runs = plan(folder, overrides=EVERY_STEP).runs
    return {run.arm.label: train(run.config, output=folder / run.arm.label, progress="off").folder for run in runs}


def half_done(folder: Path, undisturbed: dict[str, Path], **changes: Any) -> Plan:
    """A comparison of two runs, of which the second one is finished."""
    planned = plan(folder, overrides=EVERY_STEP, **changes)
    shutil.copytree(undisturbed[planned.runs[1].arm.label], planned.runs[1].folder)
    return planned


def kill(run: Run, after: int, driver: ForkServerProcess) -> None:
    """Kill a run with SIGKILL once it has written so many lines."""
    wait_for_lines(run, after, driver)
    for process in processes(run):
        os.kill(process, signal.SIGKILL)


def ends_well(driver: ForkServerProcess, planned: Plan, undisturbed: dict[str, Path]) -> None:
    """Fail unless the driver, and the run that it had to do, end as if nothing had happened."""
    driver.join(timeout=300)
    assert driver.exitcode == 0, driver_log(planned).read_text()
    assert_once(planned.runs[0], undisturbed[planned.runs[0].arm.label])


def answer(planned: Plan) -> str:
    """What compare.json says, but for its key `measured`."""
    folder = analyzed(planned).folder
    found = json.loads((folder / "compare.json").read_text())
    assert found.pop("measured")["runs"]
    return json.dumps(found)


def test_local_runs_survive_every_kill(tmp_path, undisturbed):
    """The driver is killed, its child ending by itself, and then a child: the answer is the same."""
    planned = half_done(tmp_path / "c", undisturbed)
    moments = random.Random(0)
    driver = drive(planned)
    wait_for_lines(planned.runs[0], moments.randrange(1, LINES // 2), driver)
    time.sleep(moments.uniform(0, 0.5))
    driver.kill()
    driver.join()
    wait_for_the_end(planned.runs[0])
    driver = drive(planned)
    kill(planned.runs[0], moments.randrange(LINES // 2, LINES), driver)
    ends_well(driver, planned, undisturbed)
    assert not (planned.folder / ".images").exists()
    whole = plan(tmp_path / "whole", overrides=EVERY_STEP)
    for run in whole.runs:
        shutil.copytree(undisturbed[run.arm.label], run.folder)
    assert answer(planned) == answer(whole)


def test_slurm_jobs_outlive_their_driver(tmp_path, undisturbed):
    """A job goes on when the driver is killed, the next one waits for it, and submits it again when it is killed."""
    pytest.importorskip("submitit", reason="the dependency group `engines` is not installed")
    planned = half_done(tmp_path / "c", undisturbed, engine={"name": "slurm", "cluster": "local"})
    moments = random.Random(1)
    driver = drive(planned)
    wait_for_lines(planned.runs[0], moments.randrange(1, LINES // 2), driver)
    driver.kill()
    driver.join()
    assert processes(planned.runs[0])
    driver = drive(planned)
    kill(planned.runs[0], moments.randrange(LINES // 2, LINES), driver)
    ends_well(driver, planned, undisturbed)
    assert len(list((planned.folder / ".slurm").glob("*_result.pkl"))) == 2  # one of them says that its run was killed


PORT = 26379
"""Of the Ray head."""


class Head:
    """A Ray cluster of this machine alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        options = {"num-cpus": 2, "port": PORT, "include-dashboard": "false", "object-store-memory": 80_000_000}
        words = [f"--{key}={value}" for key, value in options.items()]
        subprocess.run(
            [str(ROOT / "ray"), "start", "--head", *words, "--disable-usage-stats", f"--temp-dir={self.folder}"],
            check=True,
            capture_output=True,
        )

    def kill(self) -> None:
        """End all processes of it with SIGKILL, as a crash of its machine would."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def ray_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A running Ray head."""
    pytest.importorskip("ray", reason="the dependency group `engines` is not installed")
    head = Head(tmp_path_factory.mktemp("r"))
    head.start()
    yield head
    head.kill()


def test_ray_tasks_survive_every_kill(tmp_path, undisturbed, ray_head):
    """A run is killed, and in the next one the cluster: what was trained is kept, and goes on."""
    engine = {"name": "ray", "address": f"127.0.0.1:{PORT}"}
    planned = plan(tmp_path / "c", overrides=EVERY_STEP, engine=engine, jobs=1)
    first, second = planned.runs
    moments = random.Random(2)
    driver = drive(planned)
    kill(first, moments.randrange(1, LINES // 2), driver)
    wait_for_lines(second, moments.randrange(1, LINES // 2), driver)
    assert_once(first, undisturbed[first.arm.label])
    ray_head.kill()
    driver.join(timeout=120)
    assert driver.exitcode == 1
    assert f"detloss compare --resume {planned.folder}" in driver_log(planned).read_text()
    wait_for_the_end(second)
    assert states(planned)[1] in ("interrupted", "finished")  # a quick run may end before its worker does
    run_plan(planned, Forked())
    assert_once(second, undisturbed[second.arm.label])


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    """Where no Ray head is, the error says how to start one."""
    pytest.importorskip("ray", reason="the dependency group `engines` is not installed")
    planned = plan(tmp_path / "c", engine={"name": "ray", "address": "127.0.0.1:1"})
    with pytest.raises(DetlossError, match=r"Ray cannot be reached at 127\.0\.0\.1:1"):
        run_plan(planned)


@pytest.mark.skipif("CI" not in os.environ, reason="only in CI must all engines be there")
def test_all_engines_are_tested():
    """In CI, no engine's test is skipped."""
    import ray
    import submitit

    assert ray.__version__
    assert submitit.__version__
