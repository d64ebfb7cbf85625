"""Time forward + backward of every installed loss, eager and compiled, against torchvision's nearest loss.

What is printed is a ratio of times, ours / torchvision's: below 1 is faster. The three are timed in turn within one
process, so that a machine whose speed drifts drifts for all of them. The ratio is the median of the turns::

    python tests/benchmarks/losses.py                         # every loss; some minutes, most of it compilation
    python tests/benchmarks/losses.py giou diou --no-compile  # seconds
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torchvision.ops import generalized_box_iou_loss

from detloss import build_loss, find_plugins
from detloss.heads.compiled import call_compiled, compiles
from detloss.loss import BoxRegressionLoss

Loss = Callable[[Tensor, Tensor], Tensor]

TURN_SECONDS = 0.02
"""Time of one turn: far above the clock's resolution."""
MANY = 1_000_000
"""Pairs for the peak memory."""


def torchvision_nearest(name: str, loss: BoxRegressionLoss) -> tuple[str, Loss]:
    """Name and function of what torchvision has: a function of this name on deltas, on boxes always GIoU."""
    if loss.space == "boxes":
        return "torchvision giou", generalized_box_iou_loss
    functions = {"l1": functional.l1_loss, "huber": functional.huber_loss}
    against = name if name in functions else "smooth_l1"
    function = functions.get(name, functional.smooth_l1_loss)
    return f"torch {against}", lambda pred, target: function(pred, target, reduction="none").sum(-1)


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


def ratios(theirs: Loss, ours: Sequence[Loss], pred: Tensor, target: Tensor, turns: int) -> list[list[float]]:
    """Ours / theirs of each turn, for each of ours."""
    repeats = []
    for loss in (theirs, *ours):
        seconds(loss, pred, target, 3)  # compiles, and warms the caches
        repeats.append(max(1, int(TURN_SECONDS / seconds(loss, pred, target, 3))))
    found: list[list[float]] = [[] for _ in ours]
    for _ in range(turns):
        base = seconds(theirs, pred, target, repeats[0])
        for column, loss, count in zip(found, ours, repeats[1:], strict=True):
            column.append(seconds(loss, pred, target, count) / base)
    return found


def peak(loss: Loss, pred: Tensor, target: Tensor) -> int:
    """Bytes that one forward and backward holds at most, above the inputs."""
    pred.grad = None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss(pred, target).sum().backward()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    held = itertools.accumulate(event["args"]["Bytes"] for event in sorted(changes, key=lambda event: event["ts"]))
    return max(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("losses", nargs="*", default=[plugin.name for plugin in find_plugins()])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 4096, 65536])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--json", type=Path, help="also write the ratios to this file")
    parser.add_argument("--machine", default=platform.machine(), help="the kind of machine, for --json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kinds = ("eager", "compiled") if options.compile else ("eager",)
    print(f"torch {torch.__version__}, {options.threads} thread(s); ours / torchvision's, below 1 is faster")
    print("median (lowest-highest) of", options.turns, "turns; memory is the peak at 1,000,000 pairs")
    print(f"{'loss':14}" + "".join(f"{f'{kind} {n}':>20}" for n in options.sizes for kind in kinds) + f"{'memory':>9}")
    report: dict[str, Any] = {"machine": options.machine, "torch": torch.__version__, "losses": {}}
    for name in options.losses:
        loss = build_loss(name)
        against, theirs = torchvision_nearest(name, loss)
        torch._dynamo.reset()
        # compile: true leaves a loss eager that it would not make faster.
        compiled: list[Loss] = [partial(call_compiled, loss) if compiles(loss) else loss] if options.compile else []
        row: dict[str, Any] = {"against": against, **{kind: {} for kind in kinds}}
        cells = ""
        for n in options.sizes:
            pred, target = pairs(loss.space, n)
            ours = [with_extras(loss, variant, n) for variant in (loss, *compiled)]
            for kind, turns in zip(kinds, ratios(theirs, ours, pred, target, options.turns), strict=True):
                row[kind][str(n)] = round(statistics.median(turns), 2)
                cells += f"{f'{statistics.median(turns):.2f} ({min(turns):.2f}-{max(turns):.2f})':>20}"
        pred, target = pairs(loss.space, MANY)
        row["memory"] = round(peak(with_extras(loss, loss, MANY), pred, target) / peak(theirs, pred, target), 2)
        print(f"{name:14}{cells}{row['memory']:9.2f}", flush=True)
        report["losses"][name] = row
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
