from __future__ import annotations

import pytest
import torch
import yaml
from runs import TINY, coco_files

from detloss import ConfigError, build_model
from detloss.compare.comparing import planned as planned_in
from detloss.compare.driver import commands
from detloss.compare.driver.estimate import estimate
from detloss.compare.plan import CONFIG, Plan, load_compare, make_plan, read_plan, with_more, write_plan
from detloss.training.data.sources import read_config
from detloss.training.folder import write_config


def plan(folder="comparison", **changes) -> Plan:
    return make_plan(load_compare(TINY, **{"losses": "smooth_l1,giou", "seeds": 2, **changes}), folder)


def test_runs_come_seed_by_seed(tmp_path):
    """All arms of a seed come before the next seed, each run in a folder of its arm; nothing is written yet."""
    planned = plan(tmp_path / "c", seeds=[4, 1])
    assert [(run.seed, run.arm.label) for run in planned.runs] == [
        (4, "smooth_l1"),
        (4, "giou"),
        (1, "smooth_l1"),
        (1, "giou"),
    ]
    first = planned.runs[0]
    assert first.folder == tmp_path / "c" / "runs" / f"smooth_l1-{first.arm.hash}" / "seed-4"
    assert (first.config.train.seed, first.config.train.select) == (4, "last")
    assert first.config.losses["roi_heads"][0].name == "smooth_l1"
    assert not (tmp_path / "c").exists()


def test_what_is_left_open_is_decided():
    """Reference, head, split, seeds, threads and each weight are in the plan's config, which makes the same plan."""
    planned = plan(losses="giou,ciou:3")
    config = planned.config
    assert (config.reference, config.head, config.split, config.all_seeds) == ("giou", "roi_heads", "val", (0, 1))
    assert [arm.weight for arm in config.losses] == [10.0, 3.0]  # 10 is recommended
    assert config.threads is not None
    assert all(run.config.train.threads == config.threads for run in planned.runs)
    assert make_plan(config, "comparison") == planned


def test_an_equalizing_weight_is_measured_once(tmp_path):
    """``@equal`` gives the stock gradient, ``2@equal`` twice that; what is written is read, not measured again."""
    planned = plan(tmp_path, losses="smooth_l1,ciou@equal,ciou:2@equal")
    reference, equal, twice = planned.arms
    assert reference.gradient_ratio == pytest.approx(1, rel=1e-3)  # it is what torchvision has there
    assert equal.gradient_ratio == pytest.approx(1, rel=1e-3)
    assert twice.weight == pytest.approx(2 * equal.weight, rel=1e-3)
    write_plan(planned)
    file = tmp_path / CONFIG
    changed = yaml.safe_load(file.read_text())
    changed["losses"][1]["weight"] = 5.5
    file.write_text(yaml.safe_dump(changed))
    assert read_plan(tmp_path).arms[1].weight == 5.5


def test_a_sweep_is_for_every_loss():
    """Each loss, the reference too, gets half, one and two times its equalizing weight."""
    planned = plan(losses=["smooth_l1", {"name": "giou", "label": "mine"}], sweep=True)
    assert [arm.label for arm in planned.arms] == [
        "smooth_l1:0.5@equal",
        "smooth_l1@equal",
        "smooth_l1:2@equal",
        "mine, 0.5 x equal",
        "mine, 1 x equal",
        "mine, 2 x equal",
    ]
    assert [arm.gradient_ratio for arm in planned.arms] == pytest.approx([0.5, 1, 2] * 2, rel=1e-3)
    assert planned.reference.label == "smooth_l1@equal"


def test_what_is_written_is_read(tmp_path):
    """The plan that a folder's compare.yaml makes is the plan that wrote it."""
    planned = plan(tmp_path, losses=["smooth_l1", "ciou@equal", {"name": "smooth_l1", "beta": 0.5}])
    write_plan(planned)
    assert read_plan(tmp_path) == planned


def test_a_comparison_moves_with_its_data(tmp_path):
    """A config, its data and its comparison in one folder hold no path of that folder, and mean the same elsewhere."""
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "data").mkdir(parents=True)
    coco_files(here / "data")
    torch.save(build_model({**TINY, "num_classes": 4}).state_dict(), here / "model.pth")
    split = {"images": "data", "annotations": "data/all.json"}
    config = {**TINY, "weights": "model.pth", "num_classes": 4, "data": dict.fromkeys(("train", "val", "test"), split)}
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    asked = {"output": here, "losses": "smooth_l1,giou", "seeds": 1}
    made = planned_in(here / "config.yaml", **asked)
    commands(made)
    with pytest.raises(ConfigError, match=r"holds compare\.yaml already\. Fix: choose another output folder"):
        planned_in(here / "config.yaml", **asked)
    for run in made.runs:  # as `detloss train` does when it begins or resumes one
        write_config(run.folder, read_config(run.folder / "config.yaml"))
    assert not [file for file in here.rglob("*.yaml") if str(tmp_path) in file.read_text()]

    here.rename(there)
    moved = read_plan(there)
    assert [arm.hash for arm in moved.arms] == [arm.hash for arm in made.arms]
    for run in moved.runs:
        assert read_config(run.folder / "config.yaml") == run.config
        assert run.config.data.test.annotations == str(there / "data" / "all.json")
        assert run.config.weights == str(there / "model.pth")


def test_more_arms_and_seeds_change_no_hash():
    """What a comparison has keeps its folders when seeds and losses are added."""
    before = plan()
    after = make_plan(with_more(before.config, seeds=3, losses="+siou"), "comparison")
    assert [arm.folder for arm in after.arms[:2]] == [arm.folder for arm in before.arms]
    assert {run.folder for run in before.runs} < {run.folder for run in after.runs}


def test_a_hash_is_of_what_is_trained():
    """A default that is written out changes no hash, a parameter, a weight or the base does; the seeds do not."""

    def hashes(**changes):
        return [arm.hash for arm in plan(**changes).arms]

    (stock,) = hashes(losses="smooth_l1")
    assert hashes(losses=[{"name": "smooth_l1", "beta": 1 / 9, "weight": 1, "label": "other"}], seeds=[7]) == [stock]
    others = [
        *hashes(losses=[{"name": "smooth_l1", "beta": 0.5}]),
        *hashes(losses="smooth_l1:2"),
        *hashes(losses="smooth_l1", overrides=["train.lr=0.5"]),
    ]
    assert len({stock, *others}) == 4


def test_one_loss_twice_needs_a_label():
    """Two arms of one hash are refused, unless a label says that it is on purpose."""
    with pytest.raises(ConfigError, match="giou:10 and giou are the same loss with weight 10"):
        plan(losses="giou,giou:10")
    with pytest.raises(ConfigError, match="two arms are called 'giou'"):
        plan(losses=["giou", {"name": "ciou", "label": "giou"}])
    again = plan(losses=["giou", {"name": "giou", "label": "again"}])
    assert again.arms[0].hash == again.arms[1].hash
    assert len({run.folder for run in again.runs}) == 4
    with pytest.raises(ConfigError, match="the same loss"):
        make_plan(with_more(again.config, losses="giou:10"), "comparison")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": "giou,goiu"}, "losses: goiu: There is no loss 'goiu'. Did you mean 'giou'?"),
        ({"losses": [{"name": "giou", "epps": 1}]}, "epps: unknown key; did you mean 'eps'?"),
        ({"reference": "ciou"}, "reference: no arm is called 'ciou'. Fix: name one of smooth_l1, giou."),
        ({"split": "test"}, "split: the data have no test split"),
        ({"head": "retinanet"}, "fasterrcnn has no head 'retinanet'"),
        ({"overrides": ["losses.rpn=giou", "losses.ssd=giou"]}, "has no head 'ssd'"),
    ],
)
def test_what_cannot_be_planned_is_named(changes, message):
    """What is wrong with the arms is said before anything is trained."""
    with pytest.raises(ConfigError) as caught:
        plan(**changes)
    assert message in str(caught.value)


def test_the_head_is_the_one_of_the_base():
    """The arms go where the base has its loss; other heads of the base keep theirs."""
    moved = plan(overrides=["losses={rpn: giou}"])
    assert moved.config.head == "rpn"
    both = plan(overrides=["losses.rpn=giou"])
    assert both.config.head == "roi_heads"
    assert [losses["rpn"][0].name for losses in (run.config.losses for run in both.runs)] == ["giou"] * 4


def test_test_data_are_judged_on_where_there_are_some():
    """With a test split in the data, it is what the runs are judged on, unless val is asked for."""
    data = ["data.shapes.test=3"]
    assert (plan(overrides=data).split, plan(overrides=data, split="val").split) == ("test", "val")


def test_what_it_will_take_is_estimated():
    """Time and disk space come from timed steps; more jobs take less; nothing is written."""
    short = plan(jobs=1, threads=1, seeds=3)
    before = estimate(short)
    assert before.runs == 6
    assert before.images == 3
    assert before.seconds == pytest.approx(6 * before.seconds_a_run)
    assert before.seconds_a_run > 12 * before.seconds_a_step > 0
    weights = 4 * 514_000  # bytes of `tiny`
    assert before.disk_bytes == pytest.approx(6 * 3 * weights, rel=0.05)
    assert estimate(plan(jobs=4, threads=1, seeds=3)).seconds < before.seconds
    assert not short.folder.exists()
