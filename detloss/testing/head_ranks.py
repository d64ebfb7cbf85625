"""Steps on two ranks, one without an object, in separate processes."""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import get_all_start_methods
from torch.multiprocessing.spawn import start_processes

from detloss.doctor.isolated import end_group
from detloss.loss import BoxRegressionLoss
from detloss.registry.allow_list import VARIABLE
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


def means(head: str, patience: float) -> list[float]:
    """Return each rank's running mean after a few steps.

    They run in a process of their own, which stays for the next head, so that libraries are imported once.

    Raises:
        TimeoutError: They did not end within so many seconds.
        RuntimeError: They failed.
    """
    late = threading.Event()
    with _ONE_AT_A_TIME:
        process = _process()
        clock = threading.Timer(patience, _give_up, [late])
        clock.start()
        try:
            line = _asked(process, head)
        except BaseException:  # an interrupt, say: its answer is not one to the next question
            _end()
            raise
        finally:
            clock.cancel()
    if late.is_set():
        raise TimeoutError
    answer = json.loads(line)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return list(answer["means"])


_ONE_AT_A_TIME = threading.Lock()
_processes: dict[tuple[str, str | None], subprocess.Popen[str]] = {}
"""The process that runs, if any, by what decides which plugins it finds."""


def _process() -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, sys.path))
    key = path, os.environ.get(VARIABLE)
    if key not in _processes:
        _end()
        _processes[key] = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    return _processes[key]


def _asked(process: subprocess.Popen[str], head: str) -> str:
    with contextlib.suppress(BrokenPipeError):
        print(head, file=process.stdin, flush=True)
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        _end()
    return line or json.dumps({"error": "their process ended"})


def _give_up(late: threading.Event) -> None:
    late.set()
    _end()


@atexit.register
def _end() -> None:
    while _processes:
        _, process = _processes.popitem()
        end_group(process.pid)
        process.kill()
        with contextlib.suppress(BrokenPipeError), process:  # closes its pipes
            pass


def _rank(rank: int, head: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    trial, loss = HeadTrial(head_subject_of(head)), Counted()
    model = trial.put_in(trial.model(), loss)
    for _ in range(STEPS):
        trial.step(model, objects=rank == 0)
    Path(folder, f"mean-{rank}").write_text(repr(loss.mean.item()), encoding="utf-8")
    dist.destroy_process_group()


def _answer(head: str) -> dict[str, list[float] | str]:
    method = "fork" if "fork" in get_all_start_methods() else "spawn"
    try:
        head_subject_of(head)  # what is imported here, no rank imports
        with tempfile.TemporaryDirectory() as folder:
            start_processes(_rank, args=(head, folder), nprocs=2, start_method=method)  # type: ignore[no-untyped-call]
            found = [float(Path(folder, f"mean-{rank}").read_text(encoding="utf-8")) for rank in range(2)]
            return {"means": found}
    except Exception as error:  # noqa: BLE001 - whatever it is, the check says so
        return {"error": f"{type(error).__name__}: {error}".strip().splitlines()[-1]}


def _main() -> None:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what a plugin prints is not an answer
        for line in sys.stdin:
            print(json.dumps(_answer(line.strip())), file=answers, flush=True)


if __name__ == "__main__":
    _main()
