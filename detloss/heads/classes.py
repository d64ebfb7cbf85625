"""Puts a class in front of an instance's class, and removes it."""

import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from detloss.errors import InjectionError


def in_front(front: type[Any], original: type[Any]) -> type[Any]:
    """Return `original` with `front` before it, one class per pair.

    It keeps the name of `original`.

    A bound method of it still works after the instance has `original` back.
    """
    if (front, original) not in _MADE:
        namespace: dict[str, Any] = {"__module__": original.__module__, "__qualname__": original.__qualname__}
        for base in front.__mro__:
            if base not in original.__mro__:
                for name, value in vars(base).items():
                    if inspect.isfunction(value) and hasattr(original, name):
                        namespace.setdefault(name, _while_in_front(front, name))
        _MADE[front, original] = type(original.__name__, (front, original), namespace)
    return _MADE[front, original]


def made_of(cls: type[Any]) -> tuple[type[Any], type[Any]] | None:
    """Return the `front` and `original` that `cls` was made of."""
    made = _made(cls)
    return None if made is None else (made.__bases__[0], made.__bases__[1])


def taken_out(cls: type[Any]) -> type[Any]:
    """Return `cls` without the topmost `front`.

    Classes that were put on top of it since (FSDP2 puts one) stay.

    Raises:
        InjectionError: a class on top cannot be separated from the class below it.
    """
    made = _made(cls)
    return cls if made is None else _replaced(cls, made, made.__bases__[1])


def take_out(instance: Any, cls: type) -> None:
    """Give `instance` the class `cls`, without leftover methods of the front."""
    made = _made(type(instance))
    for name, value in list(vars(instance).items()):
        # A temporary patch of a method, undone, leaves the method bound to the instance.
        if inspect.ismethod(value) and value.__self__ is instance and value.__func__ is vars(made).get(name):
            del vars(instance)[name]
    instance.__class__ = cls


_MADE: dict[tuple[type, ...], type] = {}


def _made(cls: type) -> type | None:
    return next((base for base in cls.__mro__ if _MADE.get(base.__bases__) is base), None)


def _replaced(cls: type, old: type, new: type) -> type:
    if cls is old:
        return new
    if any("__class__" in function.__code__.co_freevars for function in _functions(cls)):
        raise InjectionError(
            f"the class {cls.__qualname__} was put on top of the injected {old.__name__}, and super() ties them. "
            "Fix: restore the class that the instance had before, then try again."
        )
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    bases = tuple(_replaced(base, old, new) if issubclass(base, old) else base for base in cls.__bases__)
    return type(cls.__name__, bases, namespace)


def _functions(cls: type) -> Iterator[Any]:
    for value in vars(cls).values():
        parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,)
        yield from (part for part in map(inspect.unwrap, parts) if inspect.isfunction(part))


def _while_in_front(front: type, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(front if isinstance(self, front) else type(self), name)(self, *args, **kwargs)

    # torch keeps at most 8 compiled graphs with a code object, so each method has its own. Without functools.wraps,
    # code that looks for the original below a wrapper finds this method.
    code = method.__code__.replace(co_name=name, co_qualname=f"{front.__qualname__}.{name}")
    return FunctionType(code, method.__globals__, name, closure=method.__closure__)
