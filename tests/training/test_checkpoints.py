"""Checkpoints of strangers, and what is left of a run folder that was damaged."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from runs import TINY

from detloss import ConfigError, build_model
from detloss.models.pretrained import read_checkpoint
from detloss.training import DetectionModule, collate, load_trained, train
from detloss.training.checkpoints import AtomicCheckpointIO

MODEL = {key: TINY[key] for key in ("model", "backbone", "options")} | {"num_classes": 4}
LARGER = {**MODEL, "backbone": "mobilenet_v2"}
"""One of which there are weights of the backbone alone."""


class Marking:
    """An object that makes a file where it is unpickled without a guard."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def as_tar(content: Any, file: Path) -> None:
    """What torch wrote before 0.1.10."""
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle", "sys_info"):
            data = pickle.dumps(content)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


FORMATS: dict[str, Callable[[Any, Path], object]] = {
    "zip": torch.save,
    "before 1.6": lambda content, file: torch.save(content, file, _use_new_zipfile_serialization=False),
    "before 0.1.10": as_tar,
    "pickle": lambda content, file: file.write_bytes(pickle.dumps(content)),
}


def lightning_validates(file: Path) -> None:
    """What Lightning does with the checkpoint that it is given."""
    nothing = torch.utils.data.DataLoader([], collate_fn=collate)
    trainer = pl.Trainer(accelerator="cpu", logger=False, plugins=[AtomicCheckpointIO()], default_root_dir=file.parent)
    trainer.validate(DetectionModule(build_model(MODEL)), nothing, ckpt_path=file)


READERS: dict[str, Callable[[Path], object]] = {
    "best.ckpt": lambda file: load_trained(file.parent),
    "last.ckpt": lambda file: load_trained(file.parent, "last"),
    "last.ckpt of a resumed run": lambda file: train(resume=file.parent),
    "Lightning": lightning_validates,
    "weights": lambda file: build_model({**MODEL, "weights": file}),
    "weights_backbone": lambda file: build_model({**LARGER, "weights_backbone": file}),
    "hub/checkpoints/mobilenet_v2-b0353104.pth": lambda _: build_model(
        {**LARGER, "weights_backbone": "MobileNet_V2_Weights.IMAGENET1K_V1"}
    ),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's about the trainer
def test_row_38_no_checkpoint_runs_code(name, tmp_path, monkeypatch):
    """A checkpoint whose pickle makes a file makes none, whoever reads it, and the message praises no way around."""
    marker, file = tmp_path / "marker", tmp_path / name.partition(" of ")[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TINY))
    torch.save({"state_dict": Marking(marker), "epoch": 0}, file)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="or holds objects that could run code") as caught:
        READERS[name](file)
    assert str(file) in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_row_38_no_format_runs_code(write, tmp_path, monkeypatch):
    """Nor does a file of any format that torch has had, whatever its name."""
    marker, file = tmp_path / "marker", tmp_path / "a.ckpt"
    write({"state_dict": Marking(marker)}, file)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ConfigError, match="could run code"):
        read_checkpoint(file)
    assert not marker.exists()


def test_row_38_lightning_of_any_version_reads_with_the_guard(tmp_path):
    """Asked as Lightning 2.5 asks (nothing said) and as later ones do (even for no guard), the guard is on."""
    marker, file = tmp_path / "marker", tmp_path / "a.ckpt"
    torch.save({"callbacks": Marking(marker)}, file)
    for asked in ({}, {"map_location": None}, {"weights_only": None}, {"weights_only": False}):
        with pytest.raises(ConfigError, match="could run code"):
            AtomicCheckpointIO().load_checkpoint(file, **asked)
    assert not marker.exists()
