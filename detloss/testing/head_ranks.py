"""Steps on two ranks, one without an object, in separate processes."""

import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import get_all_start_methods
from torch.multiprocessing.spawn import start_processes

from detloss.loss import BoxRegressionLoss
from detloss.testing.head_trial import HeadTrial, head_subject_of

STEPS = 2


class Counted(BoxRegressionLoss):
    """The absolute differences over their running mean on all ranks."""

    batch_dependent = True
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("mean", torch.ones(()))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the ``(N,)`` losses."""
        self.calls += 1
        values = (pred - target).abs().sum(-1)
        seen = torch.stack([values.detach().double().sum(), torch.tensor(float(len(values))).double()])
        if dist.is_initialized():
            dist.all_reduce(seen)
        self.mean.lerp_((seen[0] / seen[1].clamp(min=1)).to(self.mean.dtype), 0.5)
        return values / self.mean


def command(head: str) -> list[str]:
    """Return the arguments of Python that run this file for a head."""
    return ["-m", __name__, head]


def environment() -> dict[str, str]:
    """Return this process's environment, with its import path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


def _rank(rank: int, head: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    trial, loss = HeadTrial(head_subject_of(head)), Counted()
    model = trial.put_in(trial.model(), loss)
    for _ in range(STEPS):
        trial.step(model, objects=rank == 0)
    Path(folder, f"mean-{rank}").write_text(repr(loss.mean.item()), encoding="utf-8")
    dist.destroy_process_group()


def _main(head: str) -> None:
    method = "fork" if "fork" in get_all_start_methods() else "spawn"
    with tempfile.TemporaryDirectory() as folder:
        start_processes(_rank, args=(head, folder), nprocs=2, start_method=method)  # type: ignore[no-untyped-call]
        print(*(Path(folder, f"mean-{rank}").read_text(encoding="utf-8") for rank in range(2)))  # noqa: T201


if __name__ == "__main__":
    _main(sys.argv[1])
