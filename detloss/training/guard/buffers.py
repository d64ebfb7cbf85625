"""What a step must restore, and numbers from device to host."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


class Flag:
    """A number on its way from the device to the host."""

    def __init__(self, number: Tensor) -> None:
        self._number = number.to("cpu", non_blocking=True)
        self._arrival: torch.Event | None = None
        if number.device.type != "cpu":
            self._arrival = torch.Event(device=number.device)
            self._arrival.record()

    def read(self) -> float:
        """The number; waits for it if it is still on its way."""
        if self._arrival is not None:
            self._arrival.synchronize()
        # Not `item`, which asks a device: the number is in the host's memory.
        return float(self._number.numpy())


class Buffers:
    """A model's buffers as they are now, without frozen norms' constants."""

    def __init__(self, model: nn.Module) -> None:
        self._homes = list(_buffers(model))
        self._before: list[Tensor] = [torch.empty(0)] * len(self._homes)
        for places, flat in _flat([home[name] for home, name in self._homes]):
            for place, part in zip(places, torch.split(flat, [self._size(place) for place in places]), strict=True):
                self._before[place] = part

    @torch.no_grad()
    def restore(self, where: Tensor | None = None) -> None:
        """Restore the old content in place.

        Args:
            where: A scalar on the device: restores if it is not 0; None always restores.
        """
        if where is not None and where.is_cpu and not where.numpy():
            return  # on another device, asking would wait for it
        # A buffer with another shape cannot be restored in place.
        same = [
            (home[name], before)
            for (home, name), before in zip(self._homes, self._before, strict=True)
            if home.get(name) is not None and home[name].numel() == before.numel() and home[name].dtype == before.dtype
        ]
        now, before = [buffer for buffer, _ in same], [old for _, old in same]
        for places, flat in _flat(now):
            chosen = torch.cat([before[place] for place in places])
            if where is not None:
                chosen = torch.where(where.bool(), chosen, flat)
            parts = torch.split(chosen, [now[place].numel() for place in places])
            torch._foreach_copy_(
                [now[place] for place in places],
                [part.view(now[place].shape) for place, part in zip(places, parts, strict=True)],
            )

    def _size(self, place: int) -> int:
        home, name = self._homes[place]
        return int(home[name].numel())


def _buffers(model: nn.Module) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each buffer's place: its module's dictionary and its name."""
    for module in model.modules():
        if module._buffers and not isinstance(module, FrozenBatchNorm2d):
            yield from ((module._buffers, name) for name, buffer in module._buffers.items() if buffer is not None)


def _flat(tensors: list[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the tensors of each device and dtype, copied into one.

    With them come their positions.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype), []).append(place)
    for places in groups.values():
        yield places, torch.cat([tensors[place].detach().reshape(-1) for place in places])
