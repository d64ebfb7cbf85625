"""What all head adapters share: matches, and the loss made of them.

An adapter is a class that replaces a head's class on one instance. It comes first in the method resolution order:
``super().forward(...)`` is the original head. The adapter lets the head run, records the matches, and replaces one
entry of the loss dict::

    class MyHeadAdapter(HeadAdapter):
        head_name = "my_head"
        adapts = MyHead

        def forward(self, *args, **kwargs):
            losses = super().forward(*args, **kwargs)
            if self.training:
                losses["box"] = self.box_loss(Matches(...))
            return losses

The modules of the head and of its library do not change. The instance keeps its parameters, buffers and checkpoint
keys. docs/contract.md says what an adapter promises.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from detloss.errors import ConformanceError, InjectionError
from detloss.heads.classes import fronts, in_front_of_all, made_of
from detloss.heads.example import Example
from detloss.heads.losses import HeadLosses, Matches

__all__ = ["Example", "HeadAdapter", "HeadLosses", "Matches", "Recorded", "image_sizes"]


class HeadAdapter(nn.Module):
    """Base of the classes that put losses into a head.

    See the module's docstring.

    A concrete adapter sets `head_name` and `adapts`, and overrides the methods of the head that it must see. It works
    with any subclass of `adapts`, your own included.
    """

    head_name: ClassVar[str]
    """Name of the head in configs."""
    adapts: ClassVar[type[nn.Module]]
    """The head's class; losses are injected into its instances."""
    host: ClassVar[str] = ""
    """The distribution that the class comes from, as a literal. The versions are those that your package requires."""
    supplies: ClassVar[frozenset[str]] = frozenset()
    """The names in `detloss.loss.EXTRAS` that its matches have. A loss that asks for another is refused."""
    slot: ClassVar[str] = "detloss"
    """Name of the submodule that holds the losses. Adapters of one class of heads need a slot each."""
    stock_functions: ClassVar[tuple[tuple[ModuleType, str], ...]] = ()
    """Module and name of the functions that compute the stock loss. Other code may have patched them."""

    detloss: HeadLosses
    """The losses, in the slot of this name; a submodule of the head."""

    @classmethod
    def example(cls) -> Example:
        """Return a small model with this head, which `detloss check --head` runs."""
        raise ConformanceError(
            f"{cls.head_name}: the adapter {cls.__qualname__} gives no example to check it with. Fix: write a class "
            "method example that returns a detloss.heads.example.Example."
        )

    @classmethod
    def patches(cls, module: nn.Module) -> list[str]:
        """Describe everything that already replaces the head's loss, or hides it."""
        own = cls.__mro__[: cls.__mro__.index(HeadAdapter)]
        methods = {name for base in own for name, value in vars(base).items() if callable(value)}
        found = [
            f"the instance has its own {name!r}, which would run instead of the class's. Fix: delete the attribute, or "
            "set it after the injection"
            for name in sorted(methods & set(vars(module)))
            if hasattr(cls.adapts, name)
        ]
        for home, name in cls.stock_functions:
            library = _library(home.__name__)
            if name in vars(module):
                found.append(
                    f"the instance has an attribute {name!r}, which {library} never reads (it calls the function of "
                    f"{home.__name__}): that loss never ran. Fix: delete the attribute"
                )
            function = getattr(home, name)
            if function.__name__ != name or not _is_of(function, library):
                found.append(
                    f"{home.__name__}.{name} is {function!r}, not {library}'s own: it is replaced for every model in "
                    f"this process. Fix: restore {library}'s function"
                )
        return found

    @classmethod
    def plugin_flaw(cls, name: str) -> str:
        """Say why the class cannot be this plugin; continues its name."""
        if missing := [part for part in ("head_name", "adapts") if not hasattr(cls, part)]:
            return f"does not say {' and '.join(missing)}."
        if cls.head_name != name:
            return (
                f"has head_name {cls.head_name!r}. Fix: write the name of the entry point there. Configs, `eject` and "
                "recommended weights use the same name."
            )
        return ""

    @property
    def computes_losses(self) -> bool:
        """Whether a call now computes losses.

        Override it if the head computes them in eval mode too.
        """
        return self.training

    def box_loss(self, matches: Matches, slot: str = "detloss") -> Tensor:
        """Return the loss that replaces the head's box loss.

        It is a scalar, or ``(G,)`` if the matches have `entries`. Call it once a step, without a match too: a loss
        with state may wait there for the other ranks of a job.
        """
        loss: Tensor = getattr(self, slot)(matches)
        return loss

    # A training step opens its record in the first of the two that it reaches. The instance may have its own `forward`
    # (accelerate sets one), and `__call__` may be that from before the injection (torch.compile keeps it).

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the head; open the record of a training step."""
        if not self.computes_losses:
            return super().__call__(*args, **kwargs)
        with self.recording():
            return super().__call__(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head as it is."""
        if not self.computes_losses:
            return super().forward(*args, **kwargs)
        with self.recording():
            return super().forward(*args, **kwargs)

    def fronts(self) -> tuple[type["HeadAdapter"], ...]:
        """Return the adapters in front of this head, the topmost first."""
        return fronts(type(self))

    @contextmanager
    def recording(self) -> Iterator[dict[str, Any]]:
        """Open this call's record, if this thread has none open.

        Overridden methods write into it.
        """
        calls, thread = self.__dict__.setdefault("_calls", {}), _this_thread()
        if thread in calls:
            yield calls[thread]
            return
        calls[thread] = {}
        try:
            yield calls[thread]
        finally:
            del calls[thread]

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[list[Any]]:
        """Collect what `module` returns to this call, in this thread."""
        outputs: list[Any] = []
        thread = _this_thread()

        def remember(_module: nn.Module, _args: Any, output: Any) -> None:
            if _this_thread() == thread:
                outputs.append(output)

        hook = module.register_forward_hook(remember)
        try:
            yield outputs
        finally:
            hook.remove()

    def require(self, *names: str) -> dict[str, Any]:
        """Return the open record, which must hold `names`."""
        record = self.record
        if missing := [name for name in names if name not in record]:
            raise InjectionError(
                f"{self.head_name}: the forward pass of this {type(self).__name__} did not call {missing[0]!r} "
                f"(expected as in {_library(self.adapts.__module__)}'s {self.adapts.__name__}). Fix: write an adapter "
                "for this head."
            )
        return record

    @property
    def is_recording(self) -> bool:
        """Whether a record is open in this thread."""
        return _this_thread() in self.__dict__.get("_calls", {})

    @property
    def record(self) -> dict[str, Any]:
        """The open record of this thread; a throw-away if none is open."""
        record: dict[str, Any] = self.__dict__.get("_calls", {}).get(_this_thread(), {})
        return record

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse `torch.jit.script`, which asks each module for this before it compiles it."""
        raise InjectionError(
            f"{self.head_name}: TorchScript cannot compile injected losses, and inference does not need them. "
            "Fix: eject them first: torch.jit.script(detloss.eject(copy.deepcopy(model)))."
        )

    def __getstate__(self) -> Any:
        """Drop the records: they belong to steps that run now."""
        state = super().__getstate__()  # type: ignore[no-untyped-call]  # object's, or that of the head
        return {name: value for name, value in state.items() if name != "_calls"} if isinstance(state, dict) else state

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle and copy by adapter and original class.

        The class in use is made at run time.
        """
        reduced = super().__reduce_ex__(max(int(protocol), 2))
        made_from = made_of(type(self))
        if made_from is None:
            return reduced  # type: ignore[return-value]  # not text; a class on top pickles as without detloss
        return (_blank, made_from, *reduced[2:])


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch.compile warns where it cannot trace a builtin
def _this_thread() -> int:
    return threading.get_ident()


class Recorded:
    """A head's attribute whose calls are recorded as (arguments, result).

    It is in the adapter's class, in front of the attribute. Outside a record the attribute does not change.

    Args:
        method: Record the calls of this method of the attribute instead of the calls of the attribute itself.
    """

    def __init__(self, method: str = "__call__") -> None:
        self.method = method

    def __set_name__(self, owner: type[HeadAdapter], name: str) -> None:
        self.name = name

    def __get__(self, head: HeadAdapter | None, owner: type[HeadAdapter]) -> Any:
        if head is None:
            return self
        value = vars(head)[self.name] if self.name in vars(head) else head.__getattr__(self.name)
        return _Recording(value, self.method, head.record, self.name) if head.is_recording else value

    def __set__(self, head: HeadAdapter, value: Any) -> None:
        # A module never comes here: nn.Module makes it a submodule.
        vars(head)[self.name] = value


class _Recording:
    """The attribute during a record, with one method recorded."""

    def __init__(self, target: Any, method: str, record: dict[str, Any], name: str) -> None:
        self._target, self._method, self._record, self._name = target, method, record, name

    def __getattr__(self, name: str) -> Any:
        return self._run if name == self._method else getattr(self._target, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs) if self._method == "__call__" else self._target(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self._target, self._method)(*args, **kwargs)
        self._record[self._name] = args, result
        return result


def image_sizes(sizes: Sequence[tuple[int, int]], image: Tensor) -> Tensor:
    """Return ``(N, 2)`` height and width of the image of each pair."""
    return torch.tensor(sizes, device=image.device)[image]


def _blank(*classes: type[nn.Module]) -> HeadAdapter:
    blank: HeadAdapter = object.__new__(in_front_of_all(*classes))
    return blank


def _library(module: str) -> str:
    return module.partition(".")[0]


def _is_of(function: Any, library: str) -> bool:
    # By the file of its code: a wrapper may have the name and module of the wrapped function.
    code, file = getattr(function, "__code__", None), sys.modules[library].__file__
    return code is not None and file is not None and Path(code.co_filename).is_relative_to(Path(file).parent)
