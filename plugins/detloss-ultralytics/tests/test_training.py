"""`use`: losses in real trainings of ultralytics, of a few steps on synthetic images."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from small_yolos import loaded_without_detloss, settings

from detloss import HeadNotFoundError, InjectionError, eject, injected
from detloss.compare import compare_runs, from_ultralytics, write_run
from detloss.errors import ConfigError, PluginError
from detloss_ultralytics import use


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A YOLO26 that was interrupted after its first epoch and resumed, and the losses of each step and average."""
    from ultralytics import YOLO

    runs, seen = tmp_path_factory.mktemp("runs"), []

    def watch(trainer: Any) -> None:
        seen.append((trainer.epoch, *map(str, (injected(trainer.model), injected(trainer.ema.ema)))))

    def interrupt(trainer: Any) -> None:
        raise KeyboardInterrupt

    first = YOLO("yolo26n.yaml")
    use(first, {"yolo": {"name": "wiou", "weight": 2}})
    first.add_callback("on_train_batch_end", watch)
    first.add_callback("on_fit_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.train(**settings(shapes, runs, epochs=2, name="run"))
    last = runs / "run" / "weights" / "last.pt"
    between = loaded_without_detloss(last, "ema")
    second = YOLO(last)
    use(second, {"yolo": {"name": "wiou", "weight": 2}})
    second.add_callback("on_train_batch_end", watch)
    second.train(resume=True)
    return {"seen": seen, "runs": runs, "yolo": second, "between": between}


def test_every_step_has_the_losses(trained: dict[str, Any]) -> None:
    """Each step of both epochs had the losses, in the model and in its moving average, after the resume too."""
    assert [epoch for epoch, *_ in trained["seen"]] == [0, 0, 1, 1]
    assert all(text.startswith("yolo: 2 * wiou(") for _, model, average in trained["seen"] for text in (model, average))


def test_checkpoints_load_without_detloss(trained: dict[str, Any]) -> None:
    """`best.pt`, and `last.pt` in the middle of a training, hold ultralytics' own class and no losses."""
    assert trained["between"] == "DetectionModel False"
    assert loaded_without_detloss(trained["runs"] / "run" / "weights" / "best.pt") == "DetectionModel False"
    assert not injected(trained["yolo"].model)


def test_trained_runs_are_compared(trained: dict[str, Any], shapes: Path, tmp_path: Path) -> None:
    """What `val` predicts becomes a run that `detloss compare` reads, with the ids of the ground truth."""
    yolo = trained["yolo"]
    yolo.val(**settings(shapes, tmp_path, name="val", save_json=True, conf=0.0))
    found = from_ultralytics(tmp_path / "val" / "predictions.json", shapes / "val.json", names=yolo.names)
    assert found
    truth = json.loads((shapes / "val.json").read_text())
    assert {one["image_id"] for one in found} <= {image["id"] for image in truth["images"]}
    folders = [
        write_run(tmp_path / name, name=name, seed=0, predictions=rows, ground_truth=shapes / "val.json")
        for name, rows in (("all", found), ("half", found[::2]))
    ]
    comparison = compare_runs(folders, output=tmp_path / "compared").comparison
    assert [arm.label for arm in comparison.arms] == ["all", "half"]


def test_a_small_rtdetr_trains(shapes: Path, tmp_path: Path) -> None:
    """RT-DETR trains with a loss, and its checkpoint loads without detloss; the second `use` replaces the first."""
    from ultralytics import RTDETR

    model, seen = RTDETR("yolov8n-rtdetr.yaml"), []
    use(model, {"yolo_rtdetr": "giou"})
    use(model, {"yolo_rtdetr": {"name": "unified", "weight": 1, "base": "ciou"}})
    model.add_callback("on_train_batch_end", lambda trainer: seen.append(progress(trainer.model)))
    model.train(**settings(shapes, tmp_path, epochs=2, name="run"))
    assert seen == [0, 0.25, 0.5, 0.75]
    assert loaded_without_detloss(tmp_path / "run" / "weights" / "best.pt") == "RTDETRDetectionModel False"


def progress(model: Any) -> float:
    """What a loss whose formula changes during a training knows of it."""
    (buffer,) = [value for name, value in model.named_buffers() if name.endswith("progress")]
    return float(buffer)


def test_what_is_wrong_is_said_at_once() -> None:
    """Unknown heads, losses and parameters are refused before a training."""
    from ultralytics import YOLO

    yolo = YOLO("yolo11n.yaml")
    with pytest.raises(PluginError, match="yolo_rtdter"):
        use(yolo, {"yolo_rtdter": "ciou"})
    with pytest.raises(PluginError, match="coiu"):
        use(yolo, {"yolo": "coiu"})
    with pytest.raises(ConfigError, match="beta"):
        use(yolo, {"yolo": {"name": "ciou", "beta": 1}})
    with pytest.raises(HeadNotFoundError, match=r"has no RTDETRDetectionModel\. Its heads: yolo"):
        use(yolo, {"yolo_rtdetr": "ciou"})


def test_a_training_that_lost_the_losses_stops(shapes: Path, tmp_path: Path) -> None:
    """If an epoch did not compute the injected losses, the training ends with an error."""
    from ultralytics import YOLO

    yolo = YOLO("yolo11n.yaml")
    use(yolo, {"yolo": "nwd"})
    yolo.add_callback("on_train_start", lambda trainer: eject(trainer.model))
    with pytest.raises(InjectionError, match="an epoch of DetectionTrainer did not compute the losses"):
        yolo.train(**settings(shapes, tmp_path, epochs=1, name="run"))


def test_callbacks_reach_other_processes(tmp_path: Path) -> None:
    """A start on several GPUs hands the callbacks over by cloudpickle; another process gets them whole."""
    from ultralytics import YOLO

    yolo = YOLO("yolo11n.yaml")
    use(yolo, {"yolo": "nwd"})
    (tmp_path / "callbacks").write_bytes(cloudpickle.dumps(yolo.callbacks))
    program = (
        "import pickle, sys; callbacks = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print([one.__self__.losses for one in callbacks['on_pretrain_routine_end'] if hasattr(one, '__self__')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "callbacks"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[{'yolo': 'nwd'}]\n", done.stderr


def test_no_warning_in_a_training(trained: dict[str, Any], caplog: pytest.LogCaptureFixture, shapes: Path) -> None:
    """A training with `use` does not say that its losses are lost."""
    from ultralytics import YOLO

    caplog.set_level(logging.WARNING, "detloss")
    yolo = YOLO(trained["runs"] / "run" / "weights" / "best.pt")
    use(yolo, {"yolo": "ciou"})
    yolo.train(**settings(shapes, trained["runs"], epochs=1, name="again", val=False))
    assert caplog.messages == []
