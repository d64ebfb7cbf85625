"""Pickles of a head that load without detloss."""

import copy
import copyreg
from typing import Any

from detloss.heads.base import HeadAdapter
from detloss.heads.classes import fronts, made_of


class PlainPickles(HeadAdapter):
    """Base of adapters whose heads are pickled as what they were.

    Put it first in the bases of an adapter if the head's library pickles whole models: a checkpoint then loads where
    detloss is not installed. It has no losses, and a process that gets the model by pickle must inject again. Copies by
    `copy.deepcopy` keep their losses.
    """

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle by the original class, without slots."""
        reduced = super().__reduce_ex__(protocol)
        made_from = made_of(type(self))
        if made_from is None:
            return reduced
        state = dict(reduced[2])
        slots = {front.slot for front in fronts(type(self))}
        state["_modules"] = {name: module for name, module in state["_modules"].items() if name not in slots}
        # A function of the standard library, so that nothing of detloss is in the pickle.
        return (copyreg._reconstructor, (made_from[-1], object, None), state, *reduced[3:])  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Copy with the losses."""
        make, made_from, state, *_ = super().__reduce_ex__(2)
        copied = memo[id(self)] = make(*made_from)
        copied.__setstate__(copy.deepcopy(state, memo))
        return copied
