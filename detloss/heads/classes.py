"""Puts a class in front of an instance's class, and removes it."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FunctionType
from typing import Any

from detloss.errors import InjectionError


def in_front(front: type[Any], original: type[Any]) -> type[Any]:
    """Return `original` with `front` before it, one class per pair.

    It keeps the name of `original` and the signatures of its methods. `original` may have another front already.

    A bound method of it still works after the instance has `original` back.
    """
    if (front, original) not in _MADE:
        namespace: dict[str, Any] = {"__module__": original.__module__, "__qualname__": original.__qualname__}
        for base in front.__mro__:
            if base not in original.__mro__:
                for name, value in vars(base).items():
                    if inspect.isfunction(value) and hasattr(original, name):
                        namespace.setdefault(name, _while_in_front(front, original, name))
        _MADE[front, original] = type(original.__name__, (front, original), namespace)
    return _MADE[front, original]


def fronts(cls: type[Any]) -> tuple[type[Any], ...]:
    """Return what is in front of `cls`, the topmost first."""
    return tuple(made.__bases__[0] for made in _all_made(cls))


def made_of(cls: type[Any]) -> tuple[type[Any], ...] | None:
    """Return the fronts and the original that `cls` itself was made of."""
    if not _is_made(cls):
        return None
    front, original = cls.__bases__
    return (front, *(made_of(original) or (original,)))


def in_front_of_all(*classes: type[Any]) -> type[Any]:
    """Make a class of fronts and an original: the reverse of `made_of`."""
    *above, original = classes
    for front in reversed(above):
        original = in_front(front, original)
    return original


def taken_out(cls: type[Any], front: type[Any]) -> type[Any]:
    """Return `cls` without `front`.

    Classes that were put on top of it since (FSDP2 puts one) stay, and so do other fronts.

    Raises:
        InjectionError: a class on top cannot be separated from the class below it.
    """
    made = next((made for made in _all_made(cls) if made.__bases__[0] is front), None)
    return cls if made is None else _replaced(cls, made, made.__bases__[1])


def take_out(instance: Any, cls: type) -> None:
    """Give `instance` the class `cls`, without leftover methods of a front."""
    own = [vars(made) for made in _all_made(type(instance))]
    for name, value in list(vars(instance).items()):
        # A temporary patch of a method, undone, leaves the method bound to the instance.
        bound = inspect.ismethod(value) and value.__self__ is instance
        if bound and any(methods.get(name) is value.__func__ for methods in own):
            del vars(instance)[name]
    instance.__class__ = cls


_MADE: dict[tuple[type, ...], type] = {}


def _is_made(cls: type) -> bool:
    return _MADE.get(cls.__bases__) is cls


def _all_made(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if _is_made(base)]


def _replaced(cls: type, old: type, new: type) -> type:
    if cls is old:
        return new
    if _is_made(cls):
        return in_front(cls.__bases__[0], _replaced(cls.__bases__[1], old, new))
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


def _while_in_front(front: type, original: type, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(front if isinstance(self, front) else type(self), name)(self, *args, **kwargs)

    # torch keeps at most 8 compiled graphs with a code object, so each method has its own. Without functools.wraps,
    # code that looks for the original below a wrapper finds this method.
    code = method.__code__.replace(co_name=name, co_qualname=f"{front.__qualname__}.{name}")
    function: Any = FunctionType(code, method.__globals__, name, closure=method.__closure__)
    with suppress(ValueError):  # a method written in C may have none
        # Trainers read the names of a model's inputs from it.
        function.__signature__ = inspect.signature(getattr(original, name))
    return function  # type: ignore[no-any-return]
