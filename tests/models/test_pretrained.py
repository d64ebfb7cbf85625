from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import SMALL, differing, losses_of, saved
from torchvision.models.detection import MaskRCNN

from detloss import ConfigError, build_model


def test_classes_of_a_pretrained_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A small Faster R-CNN of 5 classes becomes one of 3: only `box_predictor` is new, as the log says; it trains."""
    model = build_model({**SMALL, "num_classes": 5})
    weights = saved(model, tmp_path)
    with caplog.at_level("INFO", "detloss"):
        build_model({**SMALL, "num_classes": 5, "weights": weights})
        assert caplog.messages == []
        fewer = build_model({**SMALL, "num_classes": 3, "weights": weights})
    (message,) = caplog.messages
    assert message.startswith("roi_heads.box_predictor starts untrained: ")
    assert message.endswith(f" the weights {weights} have num_classes 5, the model has num_classes 3.")
    # 3 scores and 3 boxes of 4 numbers.
    assert fewer.roi_heads.box_predictor.cls_score.out_features == 3
    assert fewer.roi_heads.box_predictor.bbox_pred.out_features == 12
    assert differing(model.state_dict(), fewer.state_dict()) == {
        f"roi_heads.box_predictor.{layer}.{kind}" for layer in ("cls_score", "bbox_pred") for kind in ("weight", "bias")
    }
    assert all(torch.isfinite(loss) for loss in losses_of(fewer).values())


def test_mask_predictor_is_replaced_whole(tmp_path: Path) -> None:
    """A Mask R-CNN of another number of classes gets a whole new mask predictor, as the tutorial gives it one."""
    spec = {**SMALL, "model": "maskrcnn"}
    model = build_model({**spec, "num_classes": 5})
    assert type(model) is MaskRCNN
    fewer = build_model({**spec, "num_classes": 3, "weights": saved(model, tmp_path)})
    changed = differing(model.state_dict(), fewer.state_dict())
    assert {key.rpartition(".")[0] for key in changed} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.conv5_mask",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
    assert fewer.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 3


def test_dense_head_counts_its_classes(tmp_path: Path) -> None:
    """An SSDlite of 5 classes becomes one of 3, whose head reads 3 scores an anchor and whose losses are finite."""
    model = build_model({"model": "ssdlite320_mobilenet_v3_large", "num_classes": 5})
    config = {"model": "ssdlite320_mobilenet_v3_large", "num_classes": 3, "weights": saved(model, tmp_path)}
    fewer = build_model(config)
    assert fewer.head.classification_head.num_columns == 3
    target = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 50.0]]), "labels": torch.tensor([1])}
    losses = fewer.train()([torch.rand(3, 64, 64), torch.rand(3, 64, 64)], [target, target])
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.slow
def test_keypoints_of_a_pretrained_model(tmp_path: Path) -> None:
    """A Keypoint R-CNN of 17 keypoints becomes one of 5: only the keypoint predictor is new."""
    name = "keypointrcnn_resnet50_fpn"
    model = build_model({"model": name})
    weights = saved(model, tmp_path)
    fewer = build_model({"model": name, "weights": weights, "options": {"num_keypoints": 5}})
    changed = differing(model.state_dict(), fewer.state_dict())
    assert changed == {f"roi_heads.keypoint_predictor.kps_score_lowres.{kind}" for kind in ("weight", "bias")}
    assert fewer.roi_heads.keypoint_predictor.kps_score_lowres.out_channels == 5
    assert fewer.roi_heads.box_predictor.cls_score.out_features == 2


def test_wrapped_state_dicts(tmp_path: Path) -> None:
    """A state dict is found under `model` and `state_dict`, and a prefix that all its keys share is taken off."""
    model = build_model({**SMALL, "num_classes": 3})
    state = model.state_dict()
    for i, content in enumerate(
        (
            {"model": state, "epoch": 3},
            {"state_dict": {f"model.{key}": value for key, value in state.items()}},
            {f"module.{key}": value for key, value in state.items()},
            {**state, "roi_heads.detloss.losses.0.mean": torch.zeros(())},
        )
    ):
        file = tmp_path / f"{i}.pth"
        torch.save(content, file)
        assert differing(state, build_model({**SMALL, "weights": file}).state_dict()) == set()


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    """A state dict of something else is refused with the first keys that are missing and unexpected, and the shapes."""
    state = build_model({**SMALL, "num_classes": 3}).state_dict()
    state["rpn.head.extra"] = torch.zeros(1)
    del state["rpn.head.bbox_pred.weight"]
    state["rpn.head.bbox_pred.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ConfigError) as caught:
        build_model({**SMALL, "weights": tmp_path / "other.pth"})
    message = str(caught.value)
    assert "does not match FasterRCNN" in message
    assert "1 keys are missing: rpn.head.bbox_pred.weight" in message
    assert "1 keys are unexpected: rpn.head.extra" in message
    assert "rpn.head.bbox_pred.bias (5,), not (12,)" in message  # 3 anchors of 4 numbers


class Evil:
    """An object that would run code where a file is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [Evil(), [1, 2], {"a": 3}, {}])
def test_files_that_hold_no_state(content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that holds anything but tensors is refused, and no code of it runs."""
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ConfigError, match=r"state dict.*torch\.save\(model\.state_dict\(\)"):
        build_model({**SMALL, "weights": tmp_path / "x.pth"})
    assert "unpickled" not in capsys.readouterr().out


def test_text_file_as_weights(tmp_path: Path) -> None:
    """A file that torch cannot read is a config error."""
    (tmp_path / "x.pth").write_text("hello")
    with pytest.raises(ConfigError, match="is not a checkpoint of torch"):
        build_model({**SMALL, "weights": tmp_path / "x.pth"})
