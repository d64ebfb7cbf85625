"""Time forward and backward of losses, eager and compiled, against torchvision's where it has one.

    python tests/benchmarks/iou_speed.py                 giou, diou and ciou
    python tests/benchmarks/iou_speed.py siou wiou       these
    python tests/benchmarks/iou_speed.py --all           every installed loss

Candidates are timed in turns, one call each in an order drawn anew, so that a change of the machine's pace and what
the call before left in the caches meet all of them alike. The table gives lower quartiles, which other work
disturbs least. A ratio above 1 says that detloss is faster. "Compiled" is what ``compile: true`` runs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from detloss import find_plugins, get_plugin
from detloss.heads.compiled import call_compiled
from detloss.loss import BoxRegressionLoss

TORCHVISION = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}
Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(TORCHVISION))
    parser.add_argument("--all", action="store_true", help="time every installed loss")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--boxes", type=int, nargs="+", default=[64, 512, 4096, 65536])
    parser.add_argument("--cpu-time", action="store_true", help="processor time of all threads, not wall-clock time")
    parser.add_argument("--eager", action="store_true", help="leave the compiled loss out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = [plugin.name for plugin in find_plugins()] if arguments.all else arguments.names
    clock, kind = (time.process_time, "processor") if arguments.cpu_time else (time.perf_counter, "wall-clock")
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} thread(s), {kind} microseconds a call")
    columns = ("loss", "boxes", "torchvision", "eager", "ratio", "compiled", "ratio", "to eager")
    print("{:14}{:>7}{:>13}{:>9}{:>7}{:>10}{:>7}{:>10}".format(*columns))
    for name in names:
        candidates = _candidates(name, arguments.eager)
        for count in arguments.boxes:
            pred, target = _pairs(count, arguments.device)
            took = {label: 1e6 * t for label, t in _time(candidates, pred, target, clock).items()}
            print(_row(name, count, took), flush=True)


def _candidates(name: str, eager_only: bool) -> dict[str, Loss]:
    cls = get_plugin(name).cls
    loss = cls()
    candidates: dict[str, Loss] = {"eager": _with_extras(loss, loss)}
    if name in TORCHVISION:
        candidates["torchvision"] = TORCHVISION[name]
    if not eager_only:
        candidates["compiled"] = _with_extras(loss, partial(call_compiled, loss))
    return candidates


def _with_extras(loss: BoxRegressionLoss, called: Callable[..., Tensor]) -> Loss:
    if not loss.extras:
        return called
    sample = {"image_size": lambda boxes: boxes.new_full((len(boxes), 2), 800.0), "anchors": lambda boxes: boxes}
    return lambda pred, target: called(pred, target, **{name: sample[name](target) for name in loss.extras})


def _pairs(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Boxes of 5 to 105 px, the predictions about as far off as a detector's in training."""
    generator = torch.Generator().manual_seed(0)
    center = torch.rand(count, 2, generator=generator) * 600
    size = torch.rand(count, 2, generator=generator) * 100 + 5
    center_pred = center + torch.randn(count, 2, generator=generator) * 10
    size_pred = size * torch.exp(torch.randn(count, 2, generator=generator) * 0.2)
    pred = torch.cat([center_pred - size_pred / 2, center_pred + size_pred / 2], dim=1)
    target = torch.cat([center - size / 2, center + size / 2], dim=1)
    return pred.to(device).requires_grad_(), target.to(device)


def _time(candidates: dict[str, Loss], pred: Tensor, target: Tensor, clock: Callable[[], float]) -> dict[str, float]:
    def call(loss: Loss) -> float:
        start = clock()
        torch.autograd.grad(loss(pred, target).sum(), pred)
        if pred.is_cuda:
            torch.cuda.synchronize()
        return clock() - start

    for loss in candidates.values():
        for _ in range(5):
            call(loss)
    took: dict[str, list[float]] = {label: [] for label in candidates}
    for _ in range(40 if len(pred) > 10_000 else 300):
        for label, loss in random.sample(list(candidates.items()), len(candidates)):
            took[label].append(call(loss))
    return {label: statistics.quantiles(times)[0] for label, times in took.items()}


def _row(name: str, count: int, took: dict[str, float]) -> str:
    def number(value: float | None, width: int, digits: int = 0) -> str:
        return f"{value:{width}.{digits}f}" if value is not None else " " * (width - 1) + "-"

    theirs, eager, compiled = (took.get(label) for label in ("torchvision", "eager", "compiled"))
    return (
        f"{name:14}{count:7}{number(theirs, 13)}{number(eager, 9)}{number(theirs and theirs / eager, 7, 2)}"
        f"{number(compiled, 10)}{number(theirs and compiled and theirs / compiled, 7, 2)}"
        f"{number(compiled and eager / compiled, 10, 2)}"
    )


if __name__ == "__main__":
    main()
