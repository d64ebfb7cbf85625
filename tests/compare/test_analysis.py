"""From runs to all that they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_runs import IMAGES, made_run, planned_runs, truth

from detloss import ConfigError, DataError
from detloss.compare.analysis.analyzing import analyze, analyze_folders
from detloss.compare.analysis.run_folders import read_planned
from detloss.compare.plan import Plan
from detloss.compare.result import Comparison
from detloss.compare.result_file import RESULT, read_comparison, write_comparison

SHARP, DULL = 1.5, 5.0
"""Pixels that boxes are off by: AP of about 0.5 and 0.15."""


def analyzed(plan: Plan, **question) -> Comparison:
    """Analyze a plan's runs, and write the result as a comparison does."""
    comparison = analyze(
        read_planned(plan), reference=plan.reference.label, folder=plan.folder, command="detloss compare", **question
    )
    write_comparison(comparison, plan.folder / RESULT)
    return comparison


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    """A comparison of two arms, one of which is much better, on three seeds."""
    return planned_runs(tmp_path_factory.mktemp("shared"), {"smooth_l1": DULL, "mine": SHARP}, seeds=3)


@pytest.fixture(scope="module")
def comparison(plan) -> Comparison:
    """What its runs say."""
    return analyzed(plan)


def copied(plan: Plan, folder: Path) -> Plan:
    """The same comparison, not yet analyzed, in another folder."""
    home = Path(shutil.copytree(plan.folder, folder / "copy"))
    (home / RESULT).unlink(missing_ok=True)
    return Plan(plan.config, home, plan.arms)


def test_a_better_arm(comparison):
    """An arm whose boxes are closer to the objects is better, in every seed, and the only one that may be best."""
    (difference,) = comparison.differences
    reference, mine = comparison.arms
    assert difference.verdict == "better"
    assert difference.estimate == pytest.approx(mine.mean - reference.mean, abs=2e-6)
    assert difference.by_seed == {
        seed: pytest.approx(mine.runs[seed].metrics["AP"] - reference.runs[seed].metrics["AP"], abs=2e-6)
        for seed in range(3)
    }
    assert min(difference.by_seed.values()) > 0
    assert 0 < difference.full.low < difference.estimate < difference.full.high
    assert (reference.may_be_best, mine.may_be_best) == (False, True)
    assert mine.mean == pytest.approx(np.mean([run.metrics["AP"] for run in mine.runs]), abs=2e-6)


def test_the_question(comparison):
    """What was compared, on what."""
    question = comparison.question
    objects = len(truth()["annotations"])
    assert (question.metric, question.split, question.images, question.objects) == ("AP", "val", IMAGES, objects)
    assert (question.reference, question.head, question.seeds) == ("smooth_l1", "roi_heads", (0, 1, 2))
    assert sum(comparison.class_objects.values()) == objects
    assert list(comparison.class_objects) == ["ellipse", "rectangle", "triangle"]
    assert comparison.selection
    assert comparison.verdict
    assert comparison.provenance["image_variance"] == "500 random halves of the images"


def test_descriptive_numbers(comparison):
    """Each run has its AP by threshold and class, its errors by kind, and its place in the comparison's folder."""
    for arm in comparison.arms:
        for run in arm.runs:
            assert run.folder == f"runs/{arm.label}-{arm.hash}/seed-{run.seed}"
            assert np.mean(list(run.by_iou.values())) == pytest.approx(run.metrics["AP"], abs=1e-5)
            assert np.mean(list(run.classes.values())) == pytest.approx(run.metrics["AP"], abs=1e-5)
            assert run.curve == ((1, 0.25), (2, 0.5))
    dull, sharp = (arm.runs[0] for arm in comparison.arms)
    assert dull.tide["Loc"] > sharp.tide["Loc"]
    assert dull.matched_iou < sharp.matched_iou


def test_image_pairs(comparison):
    """Images on which the arms differ most come first, both ways where there are such, then random ones."""
    pairs = comparison.image_pairs
    kinds = [pair.chosen for pair in pairs]
    assert kinds.count("first better") == kinds.count("random") == 3
    assert len({pair.image_id for pair in pairs}) == len(pairs)
    assert {pair.arms for pair in pairs} == {("mine", "smooth_l1")}
    most = [pair.difference for pair in pairs if pair.chosen == "first better"]
    assert most == sorted(most, reverse=True)
    assert all(pair.difference <= most[-1] for pair in pairs if pair.chosen == "random")
    assert all(pair.difference < 0 for pair in pairs if pair.chosen == "second better")
    assert all(pair.file_name == f"{pair.image_id:05d}.png" for pair in pairs)


def test_the_same_runs_give_the_same_bytes(plan, comparison, tmp_path):
    """Analyzed again, elsewhere too, compare.json is the same but for `measured`; and reading gives back what was."""
    other = copied(plan, tmp_path)
    again = analyzed(other)
    files = [(each.folder / RESULT).read_text() for each in (plan, other)]
    first, second = (text.partition('"measured"')[0] for text in files)
    assert first == second
    assert json.loads(files[0]).keys() == Comparison.model_fields.keys()
    assert read_comparison(other.folder / RESULT) == again


def test_looks(plan, tmp_path):
    """More seeds are a new look, which may spend less; the same runs analyzed again are none."""
    more = copied(plan, tmp_path)
    for run in (run for run in more.runs if run.seed == 2):
        (run.folder / "metrics.json").rename(run.folder / "later.json")
    first = analyzed(more)
    assert [(look.seeds, look.arms) for look in first.looks] == [(2, 2)]
    assert analyzed(more).looks == first.looks
    for run in (run for run in more.runs if run.seed == 2):
        (run.folder / "later.json").rename(run.folder / "metrics.json")
    second = analyzed(more)
    assert [(look.seeds, look.arms) for look in second.looks] == [(2, 2), (3, 2)]
    assert second.looks[0] == first.looks[0]
    assert second.question.alpha_spent == second.looks[1].alpha < second.question.alpha
    assert analyzed(more).question == second.question


def test_failed_and_missing_runs(plan, tmp_path):
    """They are results: listed with their reason, and the others count."""
    other = copied(plan, tmp_path)
    failed, missing = other.runs[0].folder, other.runs[3].folder
    (failed / "metrics.json").unlink()
    (failed / "failed.json").write_text('{"reason": "NonFiniteError: NaN", "exit": 1}')
    shutil.rmtree(missing)
    found = analyzed(other)
    reference, mine = found.arms
    assert [(run.state, run.reason) for run in reference.runs] == [
        ("failed", "NonFiniteError: NaN"), ("finished", None), ("finished", None)
    ]  # fmt: skip
    assert [run.state for run in mine.runs] == ["finished", "missing", "finished"]
    assert found.differences[0].by_seed.keys() == {2}
    assert reference.mean == pytest.approx(np.mean([run.metrics["AP"] for run in reference.runs[1:]]), abs=2e-6)
    assert found.differences[0].verdict == "better"


def test_an_arm_that_always_failed(plan, tmp_path):
    """It has no mean and no difference, and cannot be best."""
    other = copied(plan, tmp_path)
    for run in (run for run in other.runs if run.arm.label == "mine"):
        (run.folder / "metrics.json").unlink()
        (run.folder / "failed.json").write_text('{"reason": "NaN"}')
    found = analyzed(other)
    assert found.arms[1].mean is None
    assert not found.arms[1].may_be_best
    assert (found.differences[0].estimate, found.differences[0].verdict) == (None, "not decided")
    assert found.image_pairs == ()


def test_identical_arms(tmp_path):
    """Arms whose runs are equal to the last digit are called identical, without an interval."""
    same = planned_runs(tmp_path, {"mine": SHARP, "yours": SHARP}, seeds=2)
    (difference,) = analyzed(same).differences
    assert (difference.verdict, difference.estimate, difference.full) == ("identical", 0, None)


def test_one_run_each(tmp_path):
    """Of single runs it is known what other images would change, and nothing of other trainings."""
    folders = [made_run(tmp_path / "a", "giou", blur=DULL), made_run(tmp_path / "b", "ciou", blur=SHARP)]
    found = analyze_folders(folders)
    (difference,) = found.differences
    assert difference.images.low < difference.estimate < difference.images.high
    assert (difference.training, difference.full, difference.verdict) == (None, None, "not decided")
    assert found.noise.seed_sd is None
    assert found.command == f"detloss compare {tmp_path}/a {tmp_path}/b"
    assert found.arms[0].runs[0].folder == str(tmp_path / "a")
    assert analyze_folders(folders, reference="ciou").differences[0].estimate == pytest.approx(-difference.estimate)


def test_what_it_took(comparison):
    """Time and memory of each run stand in `measured` alone."""
    assert [(run.arm, run.seed) for run in comparison.measured.runs] == [
        (label, seed) for seed in range(3) for label in ("smooth_l1", "mine")
    ]
    assert {(run.seconds, run.seconds_a_step, run.memory_mib) for run in comparison.measured.runs} == {(7, 1, 112)}


def test_nothing_to_compare(tmp_path):
    """One arm, an unknown reference, no finished run, images without objects: each is a named error."""
    first, second = made_run(tmp_path / "a", "giou"), made_run(tmp_path / "b", "giou", 1)
    with pytest.raises(ConfigError, match="All runs are of one arm, giou"):
        analyze_folders([first, second])
    other = made_run(tmp_path / "c", "ciou")
    with pytest.raises(ConfigError, match=r"No arm is called 'diou'\. Fix: name one of giou, ciou"):
        analyze_folders([first, other], reference="diou")
    empty = {"data": {"shapes": {"train": 4, "val": 2, "size": 64, "max_objects": 0}}}
    folders = [made_run(tmp_path / f"{name} 0", name, changes=empty) for name in ("giou", "ciou")]
    for folder in folders:
        (folder / "predictions-val.json").write_text("[]")
    with pytest.raises(DataError, match=r"The val data \(synthetic images\) has no object"):
        analyze_folders(folders)
    for folder in (first, other):
        (folder / "metrics.json").unlink()
        (folder / "failed.json").write_text('{"reason": "NaN"}')
    with pytest.raises(ConfigError, match="None of 2 runs is finished"):
        analyze_folders([first, other])


def test_a_damaged_result_is_not_ignored(plan, tmp_path):
    """Looks that cannot be read would be forgotten: the file is named instead."""
    other = copied(plan, tmp_path)
    (other.folder / RESULT).write_text("{")
    with pytest.raises(ConfigError, match=r"copy/compare\.json is not what a comparison found"):
        analyzed(other)
