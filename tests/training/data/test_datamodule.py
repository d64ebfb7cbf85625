"""Which picture comes when, and how it is changed."""

from __future__ import annotations

import coco_files
import pytest
import torch

from detloss.training.data.datamodule import AugmentedDataset, EpochSampler, ShardSampler, derived_seed
from detloss.training.data.dataset import CocoDataset, scaled
from detloss.training.data.synthetic import ShapesDataset
from detloss.training.settings import AugmentConfig, ShapesConfig


@pytest.fixture(scope="module")
def shapes() -> ShapesDataset:
    return ShapesDataset(ShapesConfig(train=12, val=4, size=64, max_objects=3))


def test_each_epoch_has_every_picture_once_in_its_own_order():
    """An epoch is a permutation, another epoch another one, the same seed the same."""
    sampler = EpochSampler(10, seed=1)
    first = [index for _, index in sampler]
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == list(range(10))
    assert first != [index for _, index in second]
    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in EpochSampler(10, seed=1)] == first
    assert [index for _, index in EpochSampler(10, seed=2)] != first


def test_a_resumed_epoch_goes_on_where_it_stopped():
    """With `skip` the rest of the epoch follows; the next epoch is whole."""
    whole = list(EpochSampler(10, seed=1, epoch=3))
    resumed = EpochSampler(10, seed=1, epoch=3, skip=4)
    resumed.set_epoch(3)
    assert list(resumed) == whole[4:]
    resumed.set_epoch(4)
    assert len(list(resumed)) == 10


@pytest.mark.parametrize(("size", "world"), [(10, 2), (10, 3), (2, 5)])
def test_processes_share_out_the_pictures(size, world):
    """All processes together see every picture, each the same number of them."""
    parts = [list(EpochSampler(size, seed=0, rank=rank, world=world)) for rank in range(world)]
    assert {len(part) for part in parts} == {-(-size // world)}
    assert {index for part in parts for _, index in part} == set(range(size))
    shards = [list(ShardSampler(size, rank=rank, world=world)) for rank in range(world)]
    assert {len(shard) for shard in shards} == {-(-size // world)}
    assert {index for shard in shards for index in shard} == set(range(size))


def test_augmentation_depends_on_seed_epoch_and_index_only(shapes):
    """The same key gives the same item whatever was drawn before, and leaves torch's random numbers alone."""
    config = AugmentConfig(scale_jitter=[0.5, 1.5], photometric=True)
    data = AugmentedDataset(shapes, config, seed=5)
    first_image, first_target = data[2, 3]
    torch.rand(7)
    state = torch.get_rng_state()
    image, target = data[2, 3]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(image, first_image)
    assert torch.equal(target["boxes"], first_target["boxes"])
    others = [data[3, 3][0], AugmentedDataset(shapes, config, seed=6)[2, 3][0]]
    assert not any(torch.equal(image, other) for other in others)


def test_a_flip_moves_the_boxes(shapes):
    """Flipped for certain, x1 and x2 become width - x2 and width - x1."""
    image, target = shapes.stored(1)
    flipped_image, flipped = AugmentedDataset(shapes, AugmentConfig(flip=1.0), seed=0)[0, 1]
    x1, y1, x2, y2 = target["boxes"].unbind(1)
    assert torch.equal(flipped["boxes"], torch.stack([64 - x2, y1, 64 - x1, y2], dim=1))
    assert torch.equal(flipped_image, image.flip(-1))


def test_an_image_keeps_its_8_bits_until_a_change_needs_more(shapes):
    """Unchanged or flipped, an image is uint8; resized or recolored, it is computed in float32, not rounded."""
    changes = [AugmentConfig(), AugmentConfig(scale_jitter=[0.5, 1.5]), AugmentConfig(photometric=True)]
    kinds = [AugmentedDataset(shapes, config, seed=0)[0, 1][0].dtype for config in changes]
    assert kinds == [torch.uint8, torch.float32, torch.float32]
    assert torch.equal(scaled(shapes.stored(1)[0]), shapes[1][0])


def test_scale_jitter_keeps_the_picture_size_and_valid_boxes(shapes):
    """Made larger or smaller, a picture keeps its size, and its boxes lie in it with an area."""
    data = AugmentedDataset(shapes, AugmentConfig(scale_jitter=[0.3, 3.0]), seed=0)
    kept = 0
    for epoch in range(3):
        for index in range(len(shapes)):
            image, target = data[epoch, index]
            boxes = target["boxes"]
            assert image.shape == (3, 64, 64)
            assert len(boxes) == len(target["labels"])
            assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
            assert ((boxes >= 0) & (boxes <= 64)).all()
            kept += len(boxes)
    assert kept > 0


def test_a_smaller_picture_has_smaller_boxes(shapes):
    """At factor 0.5 the sides of every box are halved."""
    index = next(i for i in range(len(shapes)) if len(shapes[i][1]["boxes"]))
    before = shapes[index][1]["boxes"]
    after = AugmentedDataset(shapes, AugmentConfig(flip=0, scale_jitter=[0.5, 0.5]), seed=0)[0, index][1]["boxes"]
    assert torch.allclose(after[:, 2:] - after[:, :2], (before[:, 2:] - before[:, :2]) / 2)


def test_scale_jitter_scales_an_oblong_image_by_its_factor(tmp_path):
    """At factor 0.5 the box of an image that is wider than high is halved, too; torchvision's ScaleJitter is off."""
    file = coco_files.write(tmp_path, annotations=[coco_files.box()])
    data = AugmentedDataset(CocoDataset(tmp_path, file), AugmentConfig(flip=0, scale_jitter=[0.5, 0.5]), seed=0)
    x1, y1, x2, y2 = data[0, 0][1]["boxes"][0].tolist()
    assert (x2 - x1, y2 - y1) == (5, 10)


def test_derived_seeds_differ():
    """Neighbouring numbers, and the same numbers in another order, give other seeds."""
    seeds = {derived_seed(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
