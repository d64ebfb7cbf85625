"""`detloss train`: the embedded default and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import killed
import pytest
import yaml

from detloss.training import default_config


def test_the_default_config_is_printed(run_detloss):
    """`--print-default` prints the embedded config, to start one's own from."""
    code, out, err = run_detloss("train", "--print-default")
    assert (code, err) == (0, "")
    assert out == default_config()
    printed = yaml.safe_load(out)
    assert printed["losses"]["roi_heads"] == "giou"
    assert "shapes" in printed["data"]


def test_a_wrong_override_is_refused_like_the_file(run_detloss, tmp_path):
    """`--set` with an unknown key is an error that names the key and the near one; nothing is written."""
    folder = tmp_path / "run"
    code, out, err = run_detloss("train", "--set", "train.epoch=3", "--output", str(folder))
    assert (code, out) == (1, "")
    assert "train.epoch" in err
    assert "epochs" in err
    assert "Traceback" not in err
    assert not folder.exists()


def test_missing_data_is_named(run_detloss, tmp_path):
    """A data file that is not there ends with its path and no traceback."""
    config = {"model": "fasterrcnn", "backbone": "mobilenet_v2", "data": {}}
    config["data"] = {split: {"images": ".", "annotations": f"{split}.json"} for split in ("train", "val")}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    code, out, err = run_detloss("train", str(tmp_path / "a.yaml"))
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'train.json'} does not exist" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_the_default_learns(tmp_path):
    """The README's first command, with smaller images and one epoch, finds objects that it was not trained on.

    With `--json` stdout holds one JSON object: the folder and the final metrics.
    """
    small = [
        "data.shapes={train: 1500, val: 60, size: 64, max_objects: 2}",
        "options.min_size=64",
        "options.max_size=64",
    ]
    short = [
        "train.epochs=1",
        "train.validate_every=1",
        "train.batch_size=8",
        "train.accelerator=cpu",
        "train.devices=1",
    ]
    sets = [part for setting in [*small, *short] for part in ("--set", setting)]
    result = killed.python("-m", "detloss", "train", "--json", "--output", str(tmp_path / "run"), *sets)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert Path(printed["folder"]) == tmp_path / "run"
    assert printed["best"] == json.loads((tmp_path / "run" / "metrics.json").read_text())["best"]
    assert "epoch 1/1" in result.stderr
    # 0.38 where it was measured; boxes placed by chance have less than 0.01.
    assert printed["best"]["AP50"] > 0.2
