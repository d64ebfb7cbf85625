"""`detloss compare`: what is asked, what is printed, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from made_runs import made_run
from runs import config_file

from detloss.compare.result_file import read_comparison

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Finished runs of a loss, of a better one and of a slightly better one, three seeds each."""
    folder = tmp_path_factory.mktemp("made")
    blur = {"smooth_l1": 4.0, "giou": 1.0, "ciou": 3.9}
    return [str(made_run(folder / f"{loss}-{seed}", loss, seed, blur=blur[loss])) for loss in blur for seed in range(3)]


def test_runs_that_exist_are_compared(run_detloss: Run, made: list[str], tmp_path: Path) -> None:
    """The answer, a table with an interval for each loss and the report's place are printed; both files are written."""
    code, out, err = run_detloss("compare", *made, "--reference", "smooth_l1", "--output", str(tmp_path / "c"))
    assert (code, err) == (0, "")
    comparison = read_comparison(tmp_path / "c" / "compare.json")
    assert out.startswith(comparison.verdict[0])
    found = {each.arm: each for each in comparison.differences}
    assert found["giou"].full is not None
    row = next(line for line in out.splitlines() if line.startswith("giou ") and "3/3" in line)
    assert f"{found['giou'].full.low:+.3f}" in row
    assert str(tmp_path / "c" / "report.html") in out
    page = (tmp_path / "c" / "report.html").read_text()
    assert page.count("data:image/webp") > 1, "the images of the runs are found from the report's folder"


def test_json_is_the_file(run_detloss: Run, made: list[str], tmp_path: Path) -> None:
    """With `--json` stdout is compare.json, nothing else."""
    code, out, _ = run_detloss("compare", *made, "--json", "--output", str(tmp_path / "c"))
    assert code == 0
    assert out == (tmp_path / "c" / "compare.json").read_text()
    assert json.loads(out)["question"]["reference"] == "smooth_l1"


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("giou>smooth_l1", 0),
        ("giou >= smooth_l1", 0),
        ("smooth_l1>giou", 3),
        ("smooth_l1>=giou", 3),
        ("ciou>smooth_l1", 3),
        ("giou>ciou", 1),
        ("wiou>smooth_l1", 1),
        ("giou=smooth_l1", 2),
    ],
)
def test_a_condition_decides_the_exit_code(
    run_detloss: Run, made: list[str], tmp_path: Path, condition: str, code: int
) -> None:
    """`--fail-unless` exits with 3 where it does not hold, and refuses what is not about the reference."""
    found, _, err = run_detloss("compare", *made, "--fail-unless", condition, "--output", str(tmp_path / "c"))
    assert found == code
    assert (f"Not met: {condition}" in err) == (code == 3)
    if code == 1:
        assert "Fix:" in err


def test_other_data_are_refused(run_detloss: Run, made: list[str], tmp_path: Path) -> None:
    """Runs that differ in more than losses and seed are no comparison; the key is named, and nothing is written."""
    other = made_run(tmp_path / "other", "iou", changes={"train": {"lr": 0.5}})
    code, out, err = run_detloss("compare", *made, str(other), "--output", str(tmp_path / "c"))
    assert (code, out) == (1, "")
    assert "train.lr" in err
    assert not (tmp_path / "c").exists()


def test_one_run_is_no_comparison(run_detloss: Run, made: list[str]) -> None:
    """One folder is wrong usage: that of a run needs another one, that of a comparison needs --resume."""
    assert run_detloss("compare", made[0])[0] == 2
    (Path(made[0]).parent / "whole").mkdir()
    (Path(made[0]).parent / "whole" / "compare.yaml").touch()
    code, _, err = run_detloss("compare", str(Path(made[0]).parent / "whole"))
    assert code == 2
    assert "--resume" in err


def test_the_default_comparison_is_printed(run_detloss: Run) -> None:
    """`--print-default` prints the embedded comparison, to start one's own from."""
    code, out, err = run_detloss("compare", "--print-default")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["losses"] == ["smooth_l1", "giou", "ciou"]


def test_nothing_is_trained_on_a_dry_run(run_detloss: Run, tmp_path: Path) -> None:
    """`--dry-run` says how many runs there are, their time, their disk and what could be seen, and writes nothing."""
    config = config_file(tmp_path)
    options = ("--losses", "smooth_l1,giou", "--seeds", "4", "--output", str(tmp_path / "c"))
    code, out, err = run_detloss("compare", str(config), *options, "--dry-run")
    assert (code, err) == (0, "")
    assert "8 runs" in out
    assert "smaller than" in out
    code, out, _ = run_detloss("compare", str(config), *options, "--dry-run", "--json")
    assert code == 0
    planned = json.loads(out)
    assert (planned["runs"], [arm["label"] for arm in planned["arms"]]) == (8, ["smooth_l1", "giou"])
    assert planned["detectable"] > planned["half_width"] > 0
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_a_comparison_from_its_config_to_its_answer(run_detloss: Run, tmp_path: Path) -> None:
    """Two losses are trained and compared; a third one is added, and no finished run begins again.

    The engine `print` prints the command of its run; when that is done, it prints the answer.
    """
    config = config_file(tmp_path)
    folder = tmp_path / "c"
    begin = ("compare", str(config), "--losses", "smooth_l1,giou:2", "--seeds", "1", "--jobs", "2")
    code, _, err = run_detloss(*begin, "--output", str(folder))
    assert code == 0, err
    assert "giou:2, seed 0: finished" in err
    assert read_comparison(folder / "compare.json").question.seeds == (0,)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/seed-*/last.ckpt")}
    assert len(before) == 2
    code, out, err = run_detloss("compare", "--resume", str(folder), "--losses", "+ciou", "--engine", "print")
    (command,) = out.splitlines()
    assert (code, "ciou" in command) == (0, True)
    assert err.endswith(f"detloss compare --resume {folder}\n")
    code, out, err = run_detloss("compare", "--resume", str(folder), "--engine", "local", "--json")
    assert code == 0, err
    assert [arm["label"] for arm in json.loads(out)["arms"]] == ["smooth_l1", "giou:2", "ciou"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    code, out, err = run_detloss("compare", "--resume", str(folder), "--engine", "print")
    assert (code, err) == (0, "")
    assert out.startswith(read_comparison(folder / "compare.json").verdict[0])
