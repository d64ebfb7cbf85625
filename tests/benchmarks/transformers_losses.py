"""What the box loss of transformers' DETRs costs, stock and with a head of detloss-transformers, in turns.

    uv run --group transformers python tests/benchmarks/transformers_losses.py [--pairs 100 300 1000] [--rounds 9]

Prints the time of the box losses of one layer, forward and backward, and their ratio in the same run. The stock loss
takes the diagonal of an N x N matrix. Then a whole training step of a small RT-DETR, where matching builds such a
matrix too, with and without the head.

With --families instead: for the small model of each family, the largest relative difference of a loss and of a
parameter's gradient from stock, and the steps per second of both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import RTDetrConfig, RTDetrForObjectDetection
from transformers.loss.loss_rt_detr import RTDetrLoss

from detloss import build_loss, find_plugins, inject
from detloss.heads.losses import HeadLosses, Matches, Term
from detloss.registry import HEAD_GROUP
from detloss.testing.head_trial import HeadTrial, head_subject_of
from detloss_transformers import small_models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 300, 1000], help="matched boxes of a layer")
    parser.add_argument("--objects", type=int, default=60, help="objects of each of 4 images in the training step")
    parser.add_argument("--rounds", type=int, default=9, help="measured turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--families", action="store_true", help="measure the small model of each family instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.families:
        for plugin in find_plugins(HEAD_GROUP):
            if plugin.package == "detloss-transformers" and not plugin.name.endswith("_l1"):
                family(plugin.name, options.rounds)
        return
    for pairs in options.pairs:
        report(f"box losses of {pairs} pairs", *losses_of(pairs), options.rounds)
    report(f"step with {options.objects} objects an image", *steps_of(options.objects), options.rounds)


def family(head: str, rounds: int) -> None:
    trial = HeadTrial(head_subject_of(head))
    stock, ours = trial.model(), trial.with_stock()
    wanted, found = trial.step(stock), trial.step(ours)
    loss = max(
        float((found.losses[name] - value).abs() / value.abs().clamp(min=1e-12))
        for name, value in wanted.losses.items()
    )
    whole = torch.stack([gradient.norm() for gradient in wanted.gradients.values()]).norm()
    difference = torch.stack(
        [(found.gradients[name] - value).norm() for name, value in wanted.gradients.items()]
    ).norm()
    print(f"{head}: loss {loss:.1e}, gradient {float(difference / whole):.1e}", end="; ")
    report("step", lambda: trial.step(stock), lambda: trial.step(ours), rounds)


def losses_of(pairs: int) -> tuple[Callable[[], None], Callable[[], None]]:
    generator = torch.Generator().manual_seed(0)
    boxes = (0.2 + 0.3 * torch.rand(1, pairs, 4, generator=generator)).requires_grad_()
    truth = 0.2 + 0.3 * torch.rand(pairs, 4, generator=generator)
    index = torch.arange(pairs)
    criterion, head = RTDetrLoss(RTDetrConfig()), HeadLosses("rt_detr", [Term("giou", 1.0)], [build_loss("giou")])

    def decode(deltas: torch.Tensor) -> torch.Tensor:
        return torch.cat([deltas[:, :2] - deltas[:, 2:] / 2, deltas[:, :2] + deltas[:, 2:] / 2], 1) * 640

    def stock() -> None:
        found = criterion.loss_boxes({"pred_boxes": boxes}, [{"boxes": truth}], [(index, index)], float(pairs))
        (found["loss_bbox"] + found["loss_giou"]).backward()

    def ours() -> None:
        l1 = torch.nn.functional.l1_loss(boxes[0], truth, reduction="none").sum() / pairs
        matches = Matches(
            pred_deltas=boxes[0],
            target_boxes=decode(truth),
            decode=decode,
            target_deltas=lambda: truth,
            stock_divisor=float(pairs),
            stock_loss=boxes.sum,
            head_output=boxes,
        )
        (l1 + head(matches)).backward()

    return stock, ours


def steps_of(objects: int) -> tuple[Callable[[], None], Callable[[], None]]:
    torch.manual_seed(0)
    pixels = torch.rand(4, 3, 128, 128)
    labels = [
        {"class_labels": torch.randint(0, 3, (objects,)), "boxes": 0.2 + 0.3 * torch.rand(objects, 4)} for _ in pixels
    ]

    def stepper(model: RTDetrForObjectDetection) -> Callable[[], None]:
        def step() -> None:
            torch.manual_seed(0)
            model(pixel_values=pixels, labels=labels).loss.backward()
            model.zero_grad()

        return step

    def model() -> RTDetrForObjectDetection:
        torch.manual_seed(0)
        config = small_models.rt_detr().config
        config.num_queries = 100
        return RTDetrForObjectDetection(config).train()

    return stepper(model()), stepper(inject(model(), {"rt_detr": "giou"}))


def report(what: str, stock: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    seconds: dict[str, list[float]] = {"transformers": [], "detloss": []}
    for turn in range(rounds + 2):
        for name, run in sorted({"transformers": stock, "detloss": ours}.items(), reverse=bool(turn % 2)):
            start = time.perf_counter()
            run()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: 1e3 * statistics.median(taken) for name, taken in seconds.items()}
    ratio = medians["transformers"] / medians["detloss"]
    print(", ".join([what, *(f"{name} {value:.2f} ms" for name, value in medians.items()), f"ratio {ratio:.2f}"]))


if __name__ == "__main__":
    main()
