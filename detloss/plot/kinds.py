"""The kinds of images: what is measured of a loss and drawn."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss.plot.descent import FIELDS, Field, field
from detloss.plot.figures import draw_curves, draw_fields, draw_simulations
from detloss.plot.moves import MOVES, along
from detloss.plot.simulation import Simulation, simulate

Data = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of image.

    Attributes:
        measure: Returns what is drawn of a loss. The second argument is the number of points of a simulation.
        draw: Draws it for several losses by label.
        data: Returns it as data for JSON; a number that is not finite is None.
        cells: Returns short numbers for a table, by heading.
    """

    measure: Callable[[BoxRegressionLoss, int], Any]
    draw: Callable[[Mapping[str, Any]], Figure]
    data: Callable[[Any], Data]
    cells: Callable[[Any], Mapping[str, str]]


def _of_curves(values: Sequence[Tensor]) -> Data:
    return {move.name: {"at": _plain(move.at), "value": _plain(each)} for move, each in zip(MOVES, values, strict=True)}


def _of_fields(fields: Mapping[str, Field]) -> Data:
    return {
        name: {"at": _plain(each.at), "descent": _plain(each.descent), "dead": _share(each)}
        for name, each in fields.items()
    }


def _of_simulation(found: Simulation) -> Data:
    return {"points": _plain(found.points), "error": _plain(found.error), "final": _plain(found.final)}


def _share(found: Field) -> float:
    return float(found.dead.double().mean())


def _plain(tensor: Tensor) -> list[Any]:
    return [_plain(row) if tensor.ndim > 1 else _finite(float(row)) for row in tensor]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


KINDS: Mapping[str, Kind] = {
    "curves": Kind(
        lambda loss, _: [along(loss, move) for move in MOVES],
        draw_curves,
        _of_curves,
        lambda _: {},
    ),
    "fields": Kind(
        lambda loss, _: {name: field(loss, name) for name in FIELDS},
        draw_fields,
        _of_fields,
        lambda fields: {f"no gradient, {name}": f"{_share(each):.0%}" for name, each in fields.items()},
    ),
    "simulation": Kind(
        simulate,
        draw_simulations,
        _of_simulation,
        lambda found: {"error at the end": f"{float(found.error[-1]):.3g}"},
    ),
}
"""Name -> kind, in the order in which they are drawn."""
