"""Time forward + backward of every installed loss, eager and compiled, against torchvision's nearest loss.

What is printed is a ratio of times, ours / torchvision's: below 1 is faster. The three are timed in turn within one
process, so that a machine whose speed drifts drifts for all of them, and each counts with its fastest turn, the one
that other work on the machine disturbed least::

    python tests/benchmarks/losses.py                         # every loss; some minutes, most of it compilation
    python tests/benchmarks/losses.py giou diou --no-compile  # seconds
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from detloss import build_loss, find_plugins
from detloss.heads.compiled import call_compiled
from detloss.loss import BoxRegressionLoss

Loss = Callable[[Tensor, Tensor], Tensor]

TURN_SECONDS = 0.001
"""Time of one turn: far above the clock's resolution, short enough to find quiet moments."""


def torchvision_nearest(name: str, loss: BoxRegressionLoss) -> Loss:
    """Torchvision's own loss of this name; else what its detectors use in this space."""
    if loss.space == "deltas":
        function = {"l1": functional.l1_loss, "huber": functional.huber_loss}.get(name, functional.smooth_l1_loss)
        return lambda pred, target: function(pred, target, reduction="none").sum(-1)
    return {"diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}.get(name, generalized_box_iou_loss)


def with_extras(loss: BoxRegressionLoss, called: Loss, n: int) -> Loss:
    given = {"image_size": torch.full((n, 2), 800.0), "anchors": torch.zeros(n, 4)}
    extras = {name: given[name] for name in loss.extras}
    return lambda pred, target: called(pred, target, **extras)


def pairs(space: str, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    if space == "deltas":
        pred, target = torch.randn(2, n, 4, generator=generator)
    else:
        corner, size = 100 * torch.rand(2, 2, n, 2, generator=generator)
        pred, target = torch.cat([corner, corner + size + 1], dim=-1)
    return pred.requires_grad_(), target


def seconds(loss: Loss, pred: Tensor, target: Tensor, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        pred.grad = None
        loss(pred, target).sum().backward()
    return (time.perf_counter() - start) / repeats


def fastest(losses: list[Loss], pred: Tensor, target: Tensor, turns: int) -> list[float]:
    """Seconds of each loss in its fastest turn."""
    repeats = []
    for loss in losses:
        seconds(loss, pred, target, 3)  # compiles, and warms the caches
        repeats.append(max(1, int(TURN_SECONDS / seconds(loss, pred, target, 3))))
    measured = [[seconds(loss, pred, target, n) for loss, n in zip(losses, repeats, strict=True)] for _ in range(turns)]
    return [min(column) for column in zip(*measured, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("losses", nargs="*", default=[plugin.name for plugin in find_plugins()])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512, 4096, 65536])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns = ("eager", "compiled") if options.compile else ("eager",)
    print(f"torch {torch.__version__}, {options.threads} thread(s); ours / torchvision's, below 1 is faster")
    print(f"{'loss':14}" + "".join(f"{f'{column} {n}':>16}" for column in columns for n in options.sizes))
    for name in options.losses:
        loss = build_loss(name)
        torch._dynamo.reset()
        variants: list[Loss] = [loss, partial(call_compiled, loss)] if options.compile else [loss]
        ratios: dict[tuple[int, int], float] = {}
        for n in options.sizes:
            pred, target = pairs(loss.space, n)
            timed = [torchvision_nearest(name, loss), *(with_extras(loss, variant, n) for variant in variants)]
            theirs, *ours = fastest(timed, pred, target, options.turns)
            for column, time_of_ours in enumerate(ours):
                ratios[column, n] = time_of_ours / theirs
        cells = "".join(f"{ratios[column, n]:16.2f}" for column in range(len(columns)) for n in options.sizes)
        print(f"{name:14}{cells}", flush=True)


if __name__ == "__main__":
    main()
