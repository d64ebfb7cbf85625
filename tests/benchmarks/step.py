"""What an injected loss costs: a training step of a Faster R-CNN with GIoU beside torchvision's own, interleaved.

    python tests/benchmarks/step.py [--pairs 30] [--size 320] [--device cpu]

Prints the time of both and their ratio. A step is forward, backward and the optimizer's step on one fixed batch; the
two models take turns, in changing order, and start from the same weights.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from detloss import inject, injected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30, help="measured steps of each model")
    parser.add_argument("--size", type=int, default=320, help="shorter side of the images in pixels")
    parser.add_argument("--batch", type=int, default=4, help="images a step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--loss", default="giou", help="name of an installed loss")
    options = parser.parse_args()

    torch.manual_seed(0)
    stock = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=options.size
    )
    stock = stock.to(options.device).train()
    model = inject(copy.deepcopy(stock), {"roi_heads": options.loss})
    images = [torch.rand(3, options.size, options.size * 4 // 3, device=options.device) for _ in range(options.batch)]
    targets = [
        {
            "boxes": torch.tensor([[10.0, 10.0, 90.0, 120.0], [60.0, 40.0, 200.0, 160.0]], device=options.device),
            "labels": torch.tensor([1, 2], device=options.device),
        }
        for _ in images
    ]
    step = {name: stepper(one, images, targets) for name, one in (("torchvision", stock), ("detloss", model))}
    seconds: dict[str, list[float]] = {name: [] for name in step}
    warm_up = 3
    for pair in range(warm_up + options.pairs):
        for name in sorted(step, reverse=bool(pair % 2)):
            torch.manual_seed(pair)
            taken = step[name]()
            if pair >= warm_up:
                seconds[name].append(taken)
    ratios = [ours / theirs for ours, theirs in zip(seconds["detloss"], seconds["torchvision"], strict=True)]
    print(f"{injected(model)}; {options.batch} images of {options.size} px on {options.device}, {options.pairs} pairs")
    for name, taken_all in seconds.items():
        print(
            f"{name:>12}: median {1e3 * statistics.median(taken_all):8.2f} ms, fastest {1e3 * min(taken_all):8.2f} ms"
        )
    print(
        f"       ratio: median of the pairs {statistics.median(ratios):.4f}, of the fastest "
        f"{min(seconds['detloss']) / min(seconds['torchvision']):.4f}"
    )


def stepper(model: nn.Module, images: list[torch.Tensor], targets: list[dict[str, torch.Tensor]]):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    on_gpu = images[0].is_cuda

    def step() -> float:
        start = time.perf_counter()
        losses = model(images, [dict(target) for target in targets])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


if __name__ == "__main__":
    main()
