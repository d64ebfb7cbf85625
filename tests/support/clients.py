"""Real clients that change a model around the injection; `python clients.py NAME` prints what they saw as JSON."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tiny_detectors import BOX_LOSS, batch, detector, head_module, step
from torch import Tensor, nn

from detloss import AlreadyPatchedError, eject, inject, injected, validation_losses

GIOU, MPDIOU = "giou", "mpdiou"
"""The second asks for the sizes of images."""


def loss_of(model: nn.Module, head: str) -> float:
    """The box loss of a training step."""
    return step(model, batch())[BOX_LOSS[head]].item()


def eval_loss(model: nn.Module, head: str) -> float:
    with torch.no_grad(), validation_losses(model.eval()):
        found, detections = model(*batch())
    assert "boxes" in detections[0]
    return found[BOX_LOSS[head]].item()


def expected_losses(head: str) -> dict[str, float]:
    """Without a client: the box losses of the stock head and of both losses, under autocast and in full precision."""
    models = {"stock": detector(head)} | {name: inject(detector(head), {head: name}) for name in (GIOU, MPDIOU)}
    found = {f"{name} in float32": loss_of(model, head) for name, model in models.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return found | {name: loss_of(model, head) for name, model in models.items()}


def accelerate() -> None:
    """What the box loss is in each order, and whose it should be."""
    from accelerate import Accelerator

    prepare = Accelerator(cpu=True, mixed_precision="bf16").prepare
    unwrapped = partial(Accelerator().unwrap_model, keep_fp32_wrapper=False)
    seen = {}
    for head in ("roi_heads", "rpn", "fcos"):
        model = prepare(detector(head))
        assert "forward" in vars(model)
        inject(model, {head: MPDIOU})
        found = {
            "prepared, injected": (loss_of(model, head), MPDIOU),
            "prepared, injected, in eval mode": (eval_loss(model, head), MPDIOU),
            "prepared, injected, injected": (loss_of(inject(model, {head: GIOU}), head), GIOU),
            "prepared, injected, injected, ejected": (loss_of(eject(model), head), "stock"),
        }
        model = prepare(inject(detector(head), {head: MPDIOU}))
        found |= {
            "injected, prepared": (loss_of(model, head), MPDIOU),
            "injected, prepared, in eval mode": (eval_loss(model, head), MPDIOU),
            "injected, prepared, ejected": (loss_of(eject(model), head), "stock"),
            "injected, prepared, ejected, injected": (loss_of(inject(model, {head: GIOU}), head), GIOU),
        }
        model = unwrapped(prepare(inject(detector(head), {head: MPDIOU})))
        found["injected, prepared, unwrapped"] = (loss_of(model, head), f"{MPDIOU} in float32")
        found["injected, prepared, unwrapped, ejected"] = (loss_of(eject(model), head), "stock in float32")
        left = [name for name, value in vars(model).items() if "detloss" in module_of(value)]

        # The part that holds the losses, by itself: the rest of the model runs in float32.
        model = inject(detector(head), {head: MPDIOU})
        prepare(head_module(model, head))
        found["injected, part prepared"] = (loss_of(model, head), f"{MPDIOU} in float32")
        found["injected, part prepared, ejected"] = (loss_of(eject(model), head), "stock in float32")
        model, refused = detector(head), ""
        prepare(head_module(model, head))
        try:
            inject(model, {head: MPDIOU})
        except AlreadyPatchedError as error:
            refused = str(error)
        else:
            found["part prepared, injected"] = (loss_of(model, head), f"{MPDIOU} in float32")
        seen[head] = {"found": found, "expected": expected_losses(head), "left": left, "refused": refused}
    print(json.dumps(seen))


def module_of(value: Any) -> str:
    return getattr(getattr(value, "__func__", None), "__module__", "")


def fsdp() -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(shard, (folder,), nprocs=2, start_method="fork")
        print((Path(folder) / "seen.json").read_text())


def shard(rank: int, folder: str) -> None:
    from torch.distributed.fsdp import FSDPModule, fully_shard

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)

    def sharded(model: nn.Module, head: str) -> nn.Module:
        fully_shard(head_module(model, head) if head in ("roi_heads", "rpn") else model.head)
        return fully_shard(model)

    def same(model: nn.Module, head: str, expected: tuple[Tensor, dict[str, Tensor]]) -> bool:
        loss, gradients = trained(model, head)
        assert gradients.keys() == expected[1].keys()
        return torch.equal(loss, expected[0]) and all(
            torch.allclose(gradient, expected[1][name], atol=1e-7) for name, gradient in gradients.items()
        )

    seen = {}
    for head in ("roi_heads", "fcos"):
        plain = trained(detector(head), head)
        giou, mpdiou = (trained(inject(detector(head), {head: loss}), head) for loss in (GIOU, MPDIOU))
        found = {}
        model = sharded(inject(detector(head), {head: MPDIOU}), head)
        found["injected, sharded"] = same(model, head, mpdiou)
        found["injected, sharded, injected"] = same(inject(model, {head: GIOU}), head, giou)
        found["names"] = str(injected(model)), type(head_module(model, head)).__name__
        found["injected, sharded, ejected"] = same(eject(model), head, plain)
        found["class"] = type(head_module(model, head)).__bases__ == (
            FSDPModule,
            type(head_module(detector(head), head)),
        )
        found["injected, sharded, ejected, injected"] = same(inject(model, {head: MPDIOU}), head, mpdiou)
        model = sharded(detector(head), head)
        before = type(head_module(model, head))
        found["copies"] = [refusals(model), refusals(inject(model, {head: GIOU}))]
        found["sharded, injected"] = same(model, head, giou)
        found["sharded, injected, ejected"] = same(eject(model), head, plain)
        found["the very class"] = type(head_module(model, head)) is before
        seen[head] = found
    torch.distributed.destroy_process_group()
    if rank == 0:
        (Path(folder) / "seen.json").write_text(json.dumps(seen))


def trained(model: nn.Module, head: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Box loss and gradients of a training step."""
    found = step(model, batch())
    sum(found.values(), torch.zeros(())).backward()
    gradients = {name: whole(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found[BOX_LOSS[head]].detach(), gradients


def whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def refusals(model: nn.Module) -> list[str]:
    found = []
    for copied in (pickle.dumps, copy.deepcopy):
        try:
            copied(model)
        except Exception as error:  # noqa: BLE001  # which one it is, is what is asked
            found.append(f"{type(error).__name__}: {error}")
    return found


CLIENTS: dict[str, Callable[[], None]] = {"accelerate": accelerate, "fsdp": fsdp}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]]()
