from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from runs import assert_same_run, weights
from tiny_comparisons import Forked, plan, states, write_finished

from detloss import ConfigError
from detloss.compare.driver import ATTEMPTS, ComparisonInterrupted, commands, run_plan
from detloss.compare.driver.states import DROPPED, FAILED
from detloss.compare.driver.status import Status
from detloss.compare.plan import make_plan, read_plan, with_more
from detloss.training import train
from detloss.training.folder import locked

pytestmark = pytest.mark.slow


def names(engine: Forked) -> list[tuple[str, str]]:
    """Arm and seed of the runs in the order in which they were started."""
    return [(folder.parent.name.rpartition("-")[0], folder.name) for folder in engine.begun]


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """A finished comparison of two arms and two seeds, what was shown of it, and the order of its runs."""
    folder = tmp_path_factory.mktemp("driven") / "comparison"
    engine, shown = Forked(), list[Status]()
    assert run_plan(plan(folder, seeds=2), engine, show=shown.append) == "finished"
    return folder, shown, names(engine)


def test_runs_go_seed_by_seed(driven):
    """All arms of a seed are started before the next seed, and each run is what `detloss train` makes of its config."""
    folder, _, order = driven
    assert order == [("smooth_l1", "seed-0"), ("giou", "seed-0"), ("smooth_l1", "seed-1"), ("giou", "seed-1")]
    assert states(read_plan(folder)) == ["finished"] * 4
    run = read_plan(folder).runs[3]
    alone = train(run.config, output=folder.parent / "alone", progress="off").folder
    assert_same_run(alone, run.folder)


def test_it_is_told_where_it_is(driven):
    """Every change of a state is shown, with epoch, AP and the time that is left."""
    _, shown, _ = driven
    found = [[run.state for run in status.runs] for status in shown]
    assert found[0] == ["running", "running", "waiting", "waiting"]
    assert found[-1] == ["finished"] * 4
    assert [(run.arm, run.seed) for run in shown[0].runs] == [
        ("smooth_l1", 0),
        ("giou", 0),
        ("smooth_l1", 1),
        ("giou", 1),
    ]
    last = shown[-1].runs[0]
    assert (last.epoch, last.epochs) == (2, 2)
    assert last.ap is not None
    assert shown[0].seconds_left is None
    assert shown[-1].seconds_left == 0
    assert any(status.seconds_left for status in shown)


def test_finished_runs_are_not_started_again(driven):
    """A finished comparison starts nothing; with more losses and seeds it starts only what is new."""
    folder, _, _ = driven
    engine = Forked()
    assert run_plan(read_plan(folder), engine) == "finished"
    assert engine.begun == []
    more = make_plan(with_more(read_plan(folder).config, seeds=3, losses="+giou:2"), folder)
    assert run_plan(more, engine) == "finished"
    assert names(engine) == [
        ("giou-2", "seed-0"),
        ("giou-2", "seed-1"),
        *((arm, "seed-2") for arm in ("smooth_l1", "giou", "giou-2")),
    ]
    assert read_plan(folder) == more


def test_a_run_that_fails_is_a_result(tmp_path):
    """A loss that becomes infinite ends its run, the others go on; it is tried again only on request."""
    planned = plan(tmp_path / "c", losses="giou:1e38,giou")
    engine = Forked()
    assert run_plan(planned, engine) == "finished"
    assert states(planned) == ["failed", "finished"]
    failure = json.loads((planned.runs[0].folder / FAILED).read_text())
    assert failure["exit"] == 1
    assert "became NaN or infinite" in failure["reason"]
    run_plan(planned, engine)
    assert len(engine.begun) == 2
    run_plan(planned, engine, retry_failed=True)
    assert engine.begun[2:] == [planned.runs[0].folder]
    assert states(planned) == ["failed", "finished"]


def test_what_the_race_drops_gets_no_more_seeds(tmp_path):
    """An arm far behind after two seeds gets no third, the reference does; that stays so when arms are added."""
    planned = plan(tmp_path / "c", losses="smooth_l1,giou,ciou", seeds=3, race=True)
    for run in planned.runs[:6]:
        write_finished(run, {"smooth_l1": 0.5, "giou": 0.7, "ciou": 0.5}[run.arm.label] + run.seed / 100)
    engine, shown = Forked(), list[Status]()
    assert run_plan(planned, engine, show=shown.append) == "finished"
    assert names(engine) == [("smooth_l1", "seed-2"), ("giou", "seed-2")]
    assert shown[-1].runs[-1].state == "dropped"
    dropped = planned.runs[2].folder.parent / DROPPED
    assert json.loads(dropped.read_text()) == {"after": 2}
    assert run_plan(planned, engine) == "finished"
    assert len(engine.begun) == 2
    everything = make_plan(planned.config.model_copy(update={"race": False}), planned.folder)
    assert run_plan(everything, engine) == "finished"
    assert names(engine)[2:] == [("ciou", "seed-2")]


def test_the_budget_stops_between_seeds(tmp_path):
    """With its time up, a comparison ends its seed and begins no other; resumed, it goes on there."""
    planned = plan(tmp_path / "c", seeds=2, budget="1s")
    assert run_plan(planned, Forked()) == "budget"
    assert states(planned) == ["finished"] * 2 + ["waiting"] * 2
    enough = make_plan(read_plan(planned.folder).config.model_copy(update={"budget": None}), planned.folder)
    engine = Forked()
    assert run_plan(enough, engine) == "finished"
    assert len(engine.begun) == 2


def test_a_run_of_another_process_is_waited_for(tmp_path):
    """A run that another process trains is not started; the driver goes on when that process has ended."""
    planned = plan(tmp_path / "c", jobs=1)
    engine = Forked()
    with locked(planned.runs[0].folder):
        driver = threading.Thread(target=run_plan, args=(planned, engine))
        driver.start()
        time.sleep(2)
        assert engine.begun == []  # there is one place, and it is taken
    driver.join()
    assert engine.begun == [run.folder for run in planned.runs]
    assert states(planned) == ["finished"] * 2


def test_one_driver_at_a_time(tmp_path):
    """A second driver of a folder is refused."""
    planned = plan(tmp_path / "c")
    with locked(planned.folder), pytest.raises(ConfigError, match="Another process"):
        run_plan(planned, Forked())


def test_a_killed_run_goes_on(tmp_path, driven):
    """A run that is killed is resumed; killed again and again without getting on, it has failed."""

    class Killing(Forked):
        def submit(self, command, log):
            job = super().submit(command, log)
            if "giou" in command[-1] or len(self.begun) == 1:
                job.process.kill()
            return job

    planned = plan(tmp_path / "c", jobs=1)
    engine = Killing()
    assert run_plan(planned, engine) == "finished"
    assert states(planned) == ["finished", "failed"]
    assert [folder.parent.name.partition("-")[0] for folder in engine.begun] == ["smooth_l1"] * 2 + ["giou"] * ATTEMPTS
    assert "out of memory" in json.loads((planned.runs[1].folder / FAILED).read_text())["reason"]
    finished = weights(driven[0] / planned.runs[0].folder.relative_to(planned.folder))
    assert all(value.equal(finished[key]) for key, value in weights(planned.runs[0].folder).items())


def test_ctrl_c_leaves_checkpoints(tmp_path, driven):
    """Ctrl-C stops the runs with a checkpoint each and names the way on; then they end as if nothing had happened."""
    planned = plan(tmp_path / "c")

    def show(status: Status) -> None:
        if all(run.epoch for run in status.runs):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ComparisonInterrupted, match=rf"detloss compare --resume {planned.folder}"):
        run_plan(planned, Forked(), show=show)
    assert set(states(planned)) <= {"interrupted", "finished"}
    engine = Forked()
    assert run_plan(planned, engine) == "finished"
    assert all("epoch" in line for line in (planned.runs[0].folder / "metrics.jsonl").read_text().splitlines())
    for run in planned.runs:
        assert_same_run(driven[0] / run.folder.relative_to(planned.folder), run.folder)


def test_printed_commands_do_the_runs(tmp_path):
    """The commands of the engine `print` do their runs in any shell, in any order; what is done is not printed."""
    planned = plan(tmp_path / "c", engine="print")
    with pytest.raises(ConfigError, match="print runs nothing"):
        run_plan(planned)
    write_finished(planned.runs[0], 0.5)
    (command,) = commands(planned)
    subprocess.run(shlex.join(command), shell=True, check=True, capture_output=True)
    assert commands(planned) == []
    assert Path(command[-1]) == planned.runs[1].folder
