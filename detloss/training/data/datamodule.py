"""The order and augmentation of images, from (seed, epoch, index) only.

Nothing here uses torch's global random numbers or remembers a position. So a run that resumes at any batch, with any
number of workers, sees the same images as an uninterrupted run.
"""

import math
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.progress import _ProcessedTracker
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from detloss.errors import DataError
from detloss.text import one_line
from detloss.training.data.coco import LEAST_SIDE
from detloss.training.data.dataset import DetectionDataset, Item, Target, collate, scaled
from detloss.training.settings import AugmentConfig, TrainConfig

Batch = tuple[list[Tensor], list[Target]]
Key = tuple[int, int]
"""(epoch, index) of a training image."""

_FILL = (124, 116, 104)
"""ImageNet's mean color, of 255: the padding of a shrunken image."""


class DetectionData(pl.LightningDataModule):
    """Loaders of training, validation and test data.

    They are the same on every resume, and sharded over processes. Images of 8 bits travel as such, a quarter of the
    bytes, and are scaled on the device.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: DetectionDataset,
        val: DetectionDataset,
        test: DetectionDataset | None = None,
    ) -> None:
        super().__init__()
        self.config, self.train, self.val, self.test = config, train, val, test

    def train_dataloader(self) -> DataLoader[Item]:
        """Shuffled, augmented batches, from the trainer's restored progress on."""
        assert self.trainer is not None
        epochs = cast("_ProcessedTracker", self.trainer.fit_loop.epoch_progress.current)
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current
        # An epoch that is ready but not processed was interrupted: its first batches are done.
        inside_epoch = epochs.ready > epochs.processed
        sampler = EpochSampler(
            len(self.train),
            seed=self.config.train.seed,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            epoch=epochs.processed,
            skip=batches.ready * self.config.train.batch_size if inside_epoch else 0,
        )
        dataset = AugmentedDataset(self.train, self.config.data.augment, self.config.train.seed)
        return self._loader(dataset, sampler, ResumableLoader)

    def val_dataloader(self) -> DataLoader[Item]:
        """Validation images in order, without changes."""
        return self._evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader[Item]:
        """Test images in order, without changes."""
        assert self.test is not None
        return self._evaluation_loader(self.test)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Scale images of 8 bits to [0, 1], on the device."""
        assert self.trainer is not None
        convert = self.trainer.precision_plugin.convert_input  # Lightning calls it earlier, for images of floats only
        images, targets = batch
        return [convert(scaled(one)) if one.dtype == torch.uint8 else one for one in images], targets

    def _evaluation_loader(self, dataset: DetectionDataset) -> DataLoader[Item]:
        assert self.trainer is not None
        sampler = ShardSampler(len(dataset), rank=self.trainer.global_rank, world=self.trainer.world_size)
        return self._loader(StoredDataset(dataset), sampler, DataLoader)

    def _loader(self, dataset: Any, sampler: Sampler[Any], loader: type[DataLoader[Item]]) -> DataLoader[Item]:
        assert self.trainer is not None
        workers = self.config.data.workers
        return loader(
            dataset,
            batch_size=self.config.train.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
            worker_init_fn=_leave_signals_to_the_trainer,
            # Lightning then copies without waiting.
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            # The loader takes a seed for its workers when it starts; its own generator keeps torch's unchanged.
            generator=torch.Generator().manual_seed(0),
        )


class ResumableLoader(DataLoader[Item]):
    """Tells Lightning that this loader resumes within an epoch.

    Its sampler starts where training stopped.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position follows from the trainer's progress."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class EpochSampler(Sampler[Key]):
    """A random order of indices in each epoch, shared by processes.

    Args:
        size: Number of images.
        seed: The run's seed.
        rank: This process.
        world: Number of processes. Each gets the same number; the first images of the order fill gaps.
        epoch: The epoch to start with.
        skip: Images of this process that the first epoch skips, because they were trained on before.
    """

    def __init__(self, size: int, *, seed: int, rank: int = 0, world: int = 1, epoch: int = 0, skip: int = 0) -> None:
        self.size, self.seed, self.rank, self.world, self.epoch, self.skip = size, seed, rank, world, epoch, skip

    def set_epoch(self, epoch: int) -> None:
        """Move to another epoch (Lightning calls it before each one)."""
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __len__(self) -> int:
        """Images of this process in a whole epoch."""
        return math.ceil(self.size / self.world)

    def __iter__(self) -> Iterator[Key]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator).tolist()
        places = range(self.rank, len(self) * self.world, self.world)
        return iter([(self.epoch, order[place % self.size]) for place in places[self.skip :]])


class ShardSampler(Sampler[int]):
    """Each process's images, in order.

    The last ones are repeated so that all have the same number of batches.
    """

    def __init__(self, size: int, *, rank: int = 0, world: int = 1) -> None:
        self.size, self.rank, self.world = size, rank, world

    def __len__(self) -> int:
        return math.ceil(self.size / self.world)

    def __iter__(self) -> Iterator[int]:
        return iter([min(self.rank + turn * self.world, self.size - 1) for turn in range(len(self))])


class StoredDataset(Dataset[Item]):
    """The items of a data set with their images as stored."""

    def __init__(self, dataset: DetectionDataset) -> None:
        self.dataset, self.coco = dataset, dataset.coco

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        return self.dataset.stored(index)


class AugmentedDataset(Dataset[Item]):
    """Training images, each changed at random by (seed, epoch, index).

    An image of 8 bits that is at most flipped keeps them. Other changes are computed in float32.

    Args:
        dataset: The unchanged images.
        config: The possible changes.
        seed: The run's seed.
    """

    def __init__(self, dataset: DetectionDataset, config: AugmentConfig, seed: int) -> None:
        self.dataset, self.config, self.seed = dataset, config, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        only_flips = self.config.scale_jitter is None and not self.config.photometric
        item = self.dataset.stored(index) if only_flips else self.dataset[index]
        with seeded(derived_seed(self.seed, epoch, index)):
            changed: Item = self._transform(item[0])(*item)
        return changed

    def _transform(self, image: Tensor) -> v2.Transform:
        height, width = image.shape[-2:]
        steps: list[v2.Transform] = [v2.RandomHorizontalFlip(self.config.flip)]
        if self.config.scale_jitter is not None:
            least, greatest = self.config.scale_jitter
            fill = [channel / 255 for channel in _FILL]
            # torchvision's ScaleJitter exchanges width and height, and shrinks an image that is not square too much.
            factor = least + (greatest - least) * torch.rand(1).item()
            steps += [
                v2.Resize((max(1, round(height * factor)), max(1, round(width * factor)))),
                v2.RandomCrop((height, width), pad_if_needed=True, fill={type(image): fill, "others": 0}),
            ]
        if self.config.photometric:
            steps.append(v2.RandomPhotometricDistort())
        steps += [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=LEAST_SIDE)]
        return v2.Compose(steps)


def loading_failure(error: Exception) -> str | None:
    """Why a batch could not be loaded; None for other errors.

    The error may come from this process or a worker.
    """
    text = str(error)
    if caught := _CAUGHT.search(text):
        kind, message = caught.groups()
        what = f"{kind}: {one_line(message, 200)}" if message else kind
        return message if kind == DataError.__name__ else f"Loading an image raised {what}."
    if isinstance(error, DataError):
        return text
    if not text.startswith("DataLoader worker (pid"):
        return None
    what = one_line(text, 200).rstrip(".")
    return f"A process that loads images ended: {what}. Fix: free memory, or set `data.workers` to fewer, or to 0."


# torch gives a worker's error as text: its traceback, with the error itself at the end.
_CAUGHT = re.compile(
    r"\ACaught (\w+) in DataLoader worker process \d+\.\n.*\n(?:[\w.<>]+\.)?\1(?:: (.*?))?\s*\Z", re.DOTALL
)


def _leave_signals_to_the_trainer(worker: int) -> None:  # noqa: ARG001 - the loader's signature
    """Keep loading when a signal reaches the whole process group.

    The trainer finishes its step first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def derived_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers: neighbors give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU random numbers in a block, then restore them."""
    state = torch.get_rng_state()
    # torch.manual_seed takes longer than the loading: it records its caller's stack for an unused GPU.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
