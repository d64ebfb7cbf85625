"""Which heads of a model have losses, and in which slots."""

from collections.abc import Iterator

from torch import nn

from detloss.heads.base import HeadAdapter
from detloss.heads.classes import fronts, in_front, taken_out


def adapted(adapter: type[HeadAdapter], cls: type[nn.Module]) -> type[nn.Module]:
    """Return `cls` with `adapter` in front.

    It replaces another adapter with the same slot.
    """
    before = next((front for front in fronts(cls) if front.slot == adapter.slot), None)
    if before is adapter:
        return cls
    return in_front(adapter, cls if before is None else taken_out(cls, before))


def heads_in(model: nn.Module) -> Iterator[tuple[str, nn.Module, type[HeadAdapter]]]:
    """Yield path, module and adapter of each head with losses."""
    for path, module in model.named_modules():
        for front in reversed(fronts(type(module))):
            yield path, module, front


def slot_path(path: str, adapter: type[HeadAdapter]) -> str:
    """Return a name for a slot: the path alone if usual."""
    return path if adapter.slot == HeadAdapter.slot else f"{path}.{adapter.slot}".lstrip(".")
