from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from runs import TINY, config_file

from detloss import ConfigError
from detloss.compare.plan import default_comparison, load_compare, with_more
from detloss.compare.plan.compare_config import ArmConfig, CompareConfig, arm_from_text


@pytest.mark.parametrize(
    ("text", "name", "weight", "factor"),
    [
        ("giou", "giou", None, None),
        ("giou:10", "giou", 10.0, None),
        ("detloss-iou:giou", "detloss-iou:giou", None, None),
        ("detloss-iou:giou:.5", "detloss-iou:giou", 0.5, None),
        ("ciou@equal", "ciou", "@equal", 1.0),
        ("ciou:2@equal", "ciou", "2@equal", 2.0),
        ("detloss-iou:ciou:0.5@equal", "detloss-iou:ciou", "0.5@equal", 0.5),
    ],
)
def test_an_arm_is_written_in_one_word(text, name, weight, factor):
    """``[package:]name[:weight][@equal]``: a last part that is a number is a weight, or times the equalizing one."""
    arm = ArmConfig.model_validate(text)
    assert (arm.name, arm.weight, arm.equal_factor, arm.title) == (name, weight, factor, text.replace(":.5", ":0.5"))


@pytest.mark.parametrize("text", ["", "giou@", "giou@equals", "a:b:c", "a b", "@equal", ":10"])
def test_what_is_not_an_arm_is_refused(text):
    """Anything else is an error that shows how an arm is written."""
    with pytest.raises(ValueError, match=r"\[package:\]name\[:weight\]\[@equal\]"):
        arm_from_text(text)


def test_a_mapping_has_parameters_and_a_label():
    """An arm may be a mapping, which is named after its parameters unless it has a label."""
    losses = ({"name": "smooth_l1", "beta": 0.1}, {"name": "giou", "weight": "2@equal", "label": "strong"})
    found = load_compare(TINY, losses=losses).losses
    assert [arm.title for arm in found] == ["smooth_l1(beta=0.1)", "strong"]
    assert found[0].params == {"beta": 0.1}


def test_a_train_config_is_the_base(tmp_path):
    """A train config becomes the base with its overrides, and the arms come from the command line."""
    config = load_compare(config_file(tmp_path), overrides=["train.epochs=7"], losses="smooth_l1,giou:10", seeds=3)
    assert isinstance(config.base, dict)
    assert config.base["train"]["epochs"] == 7
    assert [arm.title for arm in config.losses] == ["smooth_l1", "giou:10"]
    assert config.all_seeds == (0, 1, 2)


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    """Relative paths in a compare.yaml mean its folder, whether they name the base or stand in it."""
    (tmp_path / "configs").mkdir()
    split = {"images": "images", "annotations": "all.json"}
    data = {"train": split, "val": split}
    (tmp_path / "configs" / "train.yaml").write_text(yaml.safe_dump({**TINY, "data": data}))
    written = {"losses": ["giou"], "overrides": ["data.val.images=other"]}
    for number, base in enumerate(["train.yaml", {**TINY, "data": data}]):
        file = tmp_path / "configs" / f"compare{number}.yaml"
        file.write_text(yaml.safe_dump({**written, "base": base}))
        monkeypatch.chdir(tmp_path)
        found = load_compare(Path("configs") / file.name).base
        assert isinstance(found, dict)
        assert found["data"]["train"]["images"] == str(tmp_path / "configs" / "images")
        assert found["data"]["val"]["images"] == str(tmp_path / "configs" / "other")


def test_without_a_config_there_is_a_comparison():
    """The embedded comparison has three losses, three seeds, and a test split to judge them on."""
    config = load_compare()
    assert [arm.title for arm in config.losses] == ["smooth_l1", "giou", "ciou"]
    assert config.all_seeds == (0, 1, 2)
    assert isinstance(config.base, dict)
    assert config.base["data"]["shapes"]["test"] > 0
    assert "detloss compare" in default_comparison()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "seed: unknown key; did you mean 'seeds'"),
        ({"seeds": 0}, "seeds must be a number from 1"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"engine": "slurms"}, "'slurm'"),
        ({"engine": {"name": "ray", "gpu": 1}}, "gpu: unknown key; did you mean 'gpus'"),
        ({"budget": "2 hours"}, "budget"),
        ({"losses": "giou:10", "sweep": True}, "a sweep chooses the weights"),
        ({"losses": [{"name": "giou", "weight": "equal"}]}, "weight must be a number, '@equal'"),
        ({"losses": [{"name": "giou", "weight": -1}]}, "0 or more"),
        ({"losses": ""}, "losses"),
        ({"overrides": ["train.epoch=3"]}, "train.epoch: unknown key; did you mean 'epochs'"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    """A mistake in a comparison is an error that names the key, what was found, and the key that is meant."""
    with pytest.raises(ConfigError) as caught:
        load_compare(TINY, **{"losses": "giou", **changes})
    assert message in str(caught.value)


def test_a_mistake_in_the_base_has_its_line(tmp_path):
    """An error in a base that stands in the compare.yaml says where."""
    file = tmp_path / "compare.yaml"
    file.write_text(f"losses: [giou]\nbase: {json.dumps(TINY)[:-1]},\n  backbones: tiny}}\n")
    with pytest.raises(ConfigError, match=r"compare\.yaml:3:\d+: base\.backbones: unknown key"):
        load_compare(file)


def test_a_budget_is_a_time():
    """``1h30m`` is 5400 seconds."""
    assert load_compare(TINY, losses="giou", budget="1h30m").budget_seconds == 5400
    assert load_compare(TINY, losses="giou").budget_seconds is None


def test_more_seeds_and_losses_come_after_those_that_are_there():
    """A number of seeds is the new total, a list is added; losses are added with or without a plus."""
    config = load_compare(TINY, losses="giou,ciou", seeds=[3, 0])
    assert with_more(config, seeds=4).all_seeds == (3, 0, 1, 2)
    assert with_more(config, seeds=[0, 9]).all_seeds == (3, 0, 9)
    assert [arm.title for arm in with_more(config, losses="+siou,diou").losses] == ["giou", "ciou", "siou", "diou"]
    assert isinstance(with_more(config), CompareConfig)
    with pytest.raises(ConfigError, match="has 2 already, found 1"):
        with_more(config, seeds=1)
