"""Decoded images that several runs share."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import assert_same_run, coco_files, config_file
from torch.utils.data import DataLoader

from detloss.errors import DataError
from detloss.training import CocoDataset, train
from detloss.training.data.decoded import VARIABLE, decoded_images


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the decoded images, which is switched on."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def many_kinds(folder: Path) -> Path:
    """Images of many kinds, one turned by its EXIF and one that cannot be read, and their annotation file."""
    color = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(color).save(folder / "color.png")
    Image.fromarray(color).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(color[:, :, 0]).save(folder / "gray.png")
    Image.fromarray(color[:, :, 0].astype(np.uint16) * 200).save(folder / "deep.png")
    (folder / "broken.png").write_bytes((folder / "color.png").read_bytes()[:300])
    sizes = {"color.png": (30, 20), "turned.jpg": (20, 30), "gray.png": (30, 20), "deep.png": (30, 20)}
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate({**sizes, "broken.png": (30, 20)}.items(), start=1)
    ]
    file = folder / "all.json"
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "a"}]}))
    return file


def test_shared_images_are_exact(tmp_path, monkeypatch, cache):
    """Images of 8 bits come from the shared file as they were decoded, others from their own; a broken one is named."""
    file = many_kinds(tmp_path)
    shared = CocoDataset(tmp_path, file)
    found = [shared.image(index) for index in range(4)]
    assert [path.suffix for path in sorted(cache.iterdir())] == [".images", ".lock"]
    monkeypatch.delenv(VARIABLE)
    alone = CocoDataset(tmp_path, file)
    for index, image in enumerate(found):
        expected = alone.image(index)
        assert torch.equal(image, expected)
        assert (image.dtype, image.stride()) == (expected.dtype, expected.stride())
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        shared.image(4)


def test_an_image_is_decoded_once_until_it_changes(tmp_path, cache):
    """A second data set does not read the images; what changed since, or was left half written, is decoded anew."""
    file = many_kinds(tmp_path)
    color = tmp_path / "color.png"
    before, stat = CocoDataset(tmp_path, file).image(0), color.stat()
    color.write_bytes(bytes(stat.st_size))
    os.utime(color, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert torch.equal(CocoDataset(tmp_path, file).image(0), before)
    (written,) = cache.glob("*.images")
    written.rename(written.with_suffix(".part"))  # as a killed process leaves it, but for the end
    with pytest.raises(DataError, match=r"color\.png cannot be read"):
        CocoDataset(tmp_path, file).image(0)
    Image.fromarray(np.full((20, 30, 3), 7, np.uint8)).save(color)
    assert CocoDataset(tmp_path, file).image(0).unique().tolist() == [7]


def test_processes_that_begin_at_once_write_once(tmp_path, cache):
    """Processes that need the first image at the same time all get what one of them wrote."""
    coco_files(tmp_path)
    data = CocoDataset(tmp_path, tmp_path / "all.json")
    loader = DataLoader(data, num_workers=2, batch_size=None, collate_fn=lambda item: item[0])
    found = list(loader)
    assert len(list(cache.glob("*.images"))) == 1
    assert all(torch.equal(image, data[index][0]) for index, image in enumerate(found))


def test_a_folder_that_cannot_be_used_ends_no_run(tmp_path, monkeypatch, caplog):
    """Where the folder cannot be made, a warning says so and each run decodes for itself; so does one of huge data."""
    file = many_kinds(tmp_path)
    monkeypatch.setenv(VARIABLE, str(file))
    assert CocoDataset(tmp_path, file).image(0).shape == (3, 20, 30)
    assert f"not shared between runs: {file} cannot be used" in caplog.text
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    assert decoded_images([tmp_path / "color.png"], [(60_000, 60_000)]) is None
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.slow
def test_a_run_does_not_depend_on_it(tmp_path, cache, monkeypatch):
    """With shared images and without, a run is the same to the last bit."""
    coco_files(tmp_path)
    split = {"images": ".", "annotations": "all.json"}
    file = config_file(tmp_path, train={"epochs": 1})
    data = {"train": split, "val": split, "augment": {"scale_jitter": [0.7, 1.4]}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "data": data}))
    shared = train(file, output=tmp_path / "shared", progress="off")
    assert list(cache.glob("*.images"))
    monkeypatch.delenv(VARIABLE)
    assert_same_run(shared.folder, train(file, output=tmp_path / "alone", progress="off").folder)
