"""Which checkpoint of a run is tested and used: `train.select`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runs import config_file

from detloss.training import TrainResult, train
from detloss.training.detection import evaluate, split_of
from detloss.training.trained import open_trained


def results_of(result: TrainResult, checkpoint: str) -> Any:
    """The detections in the test data, which are those of this checkpoint, the one that the run is used with."""
    assert result.metrics["checkpoint"]["test"] == checkpoint
    assert result.metrics["checkpoint"]["predictions-test.json"] == checkpoint
    trained = open_trained(result.folder)
    assert trained.checkpoint.name == checkpoint
    name, data = split_of(trained, None)
    assert (name, len(data)) == ("test", 4)
    evaluate(trained, data, output=result.folder.parent / "again.json")
    results = (result.folder / "predictions-test.json").read_text()
    assert (result.folder.parent / "again.json").read_text() == results
    return json.loads(results)


@pytest.mark.slow
def test_the_selected_checkpoint_is_tested_and_used(tmp_path):
    """Test data, synthetic here, are evaluated with the best checkpoint or, where the config says so, with the last."""
    # At this learning rate the AP stays what it is at first, so that the best weights are not the last ones.
    file = config_file(tmp_path, data={"shapes": {"train": 12, "val": 3, "test": 4, "size": 64}}, train={"lr": 1e-9})
    best = train(file, output=tmp_path / "run", progress="off")
    assert best.metrics["best"]["epoch"] == 1
    of_best = results_of(best, "best.ckpt")
    last = train(resume=best.folder, overrides=["train.select=last"], progress="off")
    assert results_of(last, "last.ckpt") != of_best != []
