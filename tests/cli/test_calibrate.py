"""`detloss calibrate`: numbers of a config's losses, and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminal import in_terminal

Run = Callable[..., tuple[int, str, str]]

SMALL = [
    part
    for setting in (
        "data.shapes={train: 4, val: 1, size: 64}",
        "options.min_size=64",
        "options.max_size=64",
        "train.batch_size=2",
        "train.accelerator=cpu",
    )
    for part in ("--set", setting)
]


@pytest.mark.slow
def test_the_stock_loss_has_ratio_one(run_detloss: Run) -> None:
    """Torchvision's own loss, named explicitly, has the stock's value and gradient and the equalizing weight 1."""
    stock = ["--set", "losses.roi_heads={name: smooth_l1, beta: 0.1111111111111111}"]
    code, out, err = run_detloss("calibrate", "--batches", "2", "--json", *SMALL, *stock)
    assert code == 0, err
    printed = json.loads(out)
    assert printed["batches"] == 2
    (measured,) = printed["losses"]
    assert (measured["head"], measured["loss"], measured["recommended"]) == ("roi_heads", "smooth_l1", 1)
    assert measured["batches"] <= 2
    assert measured["value"] == pytest.approx(measured["stock_value"], rel=1e-5)
    assert measured["gradient"] == pytest.approx(measured["stock_gradient"], rel=1e-5)
    assert measured["ratio"] == pytest.approx(1, rel=1e-5)
    assert measured["equalizing_weight"] == pytest.approx(1, rel=1e-5)


@pytest.mark.slow
def test_the_table_and_the_warning(run_detloss: Run) -> None:
    """Without a config synthetic images are measured; a line a loss, and a sentence for a weight that is far off."""
    losses = ["--set", "losses={roi_heads: [giou, {name: diou, weight: 5000}], rpn: l1}"]
    code, out, err = run_detloss("calibrate", "--batches", "3", *SMALL, *losses)
    assert code == 0, err
    lines = out.splitlines()
    heading = "head loss value stock value gradient stock gradient ratio equalizing weight weight in use recommended"
    assert lines[0].split() == heading.split()
    rows = [line.split() for line in lines[2:5]]
    assert [row[:2] for row in rows] == [["rpn", "l1"], ["roi_heads", "giou"], ["roi_heads", "diou"]]
    assert rows[1][-3:] == ["10", "(default)", "10"]
    assert rows[2][-2:] == ["5000", "12"]
    far = [line for line in lines if line.startswith("Far off:")]
    assert len(far) == 1
    assert "roi_heads: with weight 5000 the gradient of diou is" in far[0]


def test_a_config_without_losses(run_detloss: Run) -> None:
    """A config that names no loss is told where to name one."""
    code, out, err = run_detloss("calibrate", *SMALL, "--set", "losses=null")
    assert (code, out) == (1, "")
    assert err.startswith("Error: The config names no loss")


def test_a_missing_file(run_detloss: Run, tmp_path: Path) -> None:
    """A config that is not there is named, without a traceback."""
    code, _, err = run_detloss("calibrate", str(tmp_path / "none.yaml"))
    assert code == 1
    assert "none.yaml" in err
    assert run_detloss("calibrate", "--batches", "0")[0] == 2


@pytest.mark.slow
def test_a_file_is_measured_as_it_is_trained(tmp_path: Path) -> None:
    """Relative paths mean the config's folder, and the batches go on into the next epoch where the data is short."""
    import yaml

    from detloss.training.loss_weights import model_and_batches
    from detloss.training.settings import TrainConfig

    config: dict[str, Any] = {
        "model": "fasterrcnn",
        "backbone": "mobilenet_v2",
        "losses": {"rpn": "giou"},
        "data": {"shapes": {"train": 3, "val": 1, "size": 64}},
        "train": {"batch_size": 2, "accelerator": "cpu"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    _, batches = model_and_batches(path, batches=4)
    ids = [[int(target["image_id"]) for target in targets] for _, targets in batches]
    assert [len(batch) for batch in ids] == [2, 1, 2, 1]
    assert sorted(ids[0] + ids[1]) == sorted(ids[2] + ids[3]) == [1, 2, 3]
    assert TrainConfig.model_validate(config).train.batch_size == 2


@pytest.mark.slow
def test_a_narrow_terminal() -> None:
    """Where the table would cut words or numbers in two, each loss has its numbers below it.

    While torch and Lightning are imported, a terminal says so; what comes then is not hidden by it.
    """
    losses = ["--set", "losses={roi_heads: [giou, diou]}"]
    done = in_terminal("calibrate", "--batches", "1", *SMALL, *losses, columns=80)
    assert done.returncode == 0, done.stderr
    assert "Loading libraries" in done.stdout.partition("roi_heads")[0]
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*\w", "", done.stdout).splitlines()]
    assert [line for line in lines if line.startswith("roi_heads")] == ["roi_heads  giou", "roi_heads  diou"]
    assert "  weight in use      10 (default)" in lines
    assert any(line.startswith("Means over 1 batch with a match") for line in lines)
    assert "…" not in done.stdout
