"""Measures and draws an installed loss for its page; what is known of unchanged sources is not measured again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from importlib.util import find_spec
from multiprocessing import cpu_count, get_context
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import detloss
from detloss import DetlossError, build_loss, find_plugins, get_plugin
from detloss.cli.show import describe
from detloss.plot.descent import FIELDS
from detloss.plot.kinds import KINDS
from detloss.plot.moves import MOVES
from detloss.plot.panels import draw_end, draw_error, draw_field, draw_move, styled
from detloss.plot.simulation import POINTS
from detloss.registry import Plugin
from detloss.registry.loading import blamed

REFERENCES = ("smooth_l1", "giou", "iou")
"""Well-known losses: the first two besides the loss itself are drawn with it, if they are installed."""
FIGURES = ("slide", "grow", "stretch", "center", "sides", "error", "end")
"""Names of the figures of a loss, which are files ``NAME-FIGURE.svg`` in its folder."""
_CORE = ("boxes.py", "loss.py", "plot", "cli/show.py")
"""Sources of detloss that decide the numbers and the figures of a loss."""


def measure_all(plugins: Mapping[str, Plugin], folder: Path, progress: Callable[..., Any] = iter) -> dict[str, Any]:
    """Return what is known of each loss: `describe` of `detloss show`, and ``folder``, ``gradient`` and ``error``.

    Of one that fails it is ``{"failed": why}``.

    Args:
        plugins: Name of a page -> its loss.
        folder: Where each loss gets a folder with its figures and numbers.
        progress: Given the futures of what is measured now and ``length=``, returns an iterator over them.
    """
    shared = _shared()
    homes = {page: folder / f"{page}-{_digest(plugin, shared)}" for page, plugin in plugins.items()}
    for old in set(folder.glob("*")) - set(homes.values()):
        shutil.rmtree(old)
    new = {page: home for page, home in homes.items() if not (home / "known.json").exists()}
    found: dict[str, Any] = {}
    if new:
        # Processes that start afresh: torch's threads do not survive a fork.
        with ProcessPoolExecutor(min(cpu_count(), len(new)), mp_context=get_context("spawn")) as pool:
            jobs = {pool.submit(_measure, plugins[page].full_name, page, home): page for page, home in new.items()}
            for job in progress(as_completed(jobs), length=len(jobs)):
                found[jobs[job]] = job.result()
    for page, home in homes.items():
        if page not in found:
            found[page] = json.loads((home / "known.json").read_text(encoding="utf-8"))
        found[page]["folder"] = home.name
    return found


def _digest(plugin: Plugin, shared: bytes) -> str:
    """Return a hash of the sources that decide what is measured of a loss."""
    identity = f"{plugin.full_name} {plugin.version} {plugin.module}:{plugin.attribute}".encode()
    return hashlib.sha256(identity + shared + _package(plugin)).hexdigest()[:12]


def _shared() -> bytes:
    """Return the sources that decide it for every loss."""
    core = Path(detloss.__file__).parent
    references = [plugin for plugin in find_plugins() if plugin.name in REFERENCES]
    return b"".join(
        [Path(__file__).read_bytes(), *(_sources(core / name) for name in _CORE), *map(_package, references)]
    )


def _package(plugin: Plugin) -> bytes:
    spec = find_spec(plugin.module.partition(".")[0])
    places = (spec and (spec.submodule_search_locations or [spec.origin])) or []
    return b"".join(_sources(Path(place)) for place in places if place)


def _sources(place: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place]))


def _measure(full_name: str, page: str, home: Path) -> dict[str, Any]:
    """Measure a loss and draw it into a folder, which appears when it is complete."""
    torch.set_num_threads(1)  # several of these processes run side by side
    try:
        loaded = get_plugin(full_name)
        with blamed(loaded.plugin, "its page"):
            known = describe(loaded)
            measured = _drawable(loaded.cls())
    except DetlossError as error:
        return {"failed": str(error)}
    known |= {key: cell for name, kind in KINDS.items() for key, cell in kind.cells(measured[name]).items()}
    others = [name for name in REFERENCES if name != loaded.plugin.name]
    together = {page: measured, **{name: each for name in others[:2] if (each := _reference(name))}}
    partial = home.with_name(f"{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _draw(together, partial / page)
    (partial / "known.json").write_text(json.dumps(known), encoding="utf-8")
    partial.rename(home)
    return known


def _drawable(loss: Any) -> dict[str, Any]:
    return {name: kind.measure(loss, POINTS) for name, kind in KINDS.items()}


@cache
def _reference(name: str) -> dict[str, Any] | None:
    try:
        return _drawable(build_loss(name))
    except DetlossError:  # not installed
        return None


def _draw(measured: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the first loss, and the values of the others with it."""
    first = next(iter(measured.values()))
    with styled():
        figures = {name: Figure(figsize=(3.7, 3.5), layout="constrained") for name in FIGURES}
        axes = {name: figure.subplots() for name, figure in figures.items()}
        for place, move in enumerate(MOVES):
            draw_move(axes[move.name], move, {label: each["curves"][place] for label, each in measured.items()})
            # The scale is that of the loss itself.
            values = first["curves"][place]
            low, high = (float(each) for each in torch.aminmax(values[values.isfinite()]))
            axes[move.name].set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))
        for name, what in FIELDS.items():
            draw_field(axes[name], first["fields"][name])
            axes[name].set_title(what, fontsize=9)
        draw_error(axes["error"], {label: each["simulation"].error for label, each in measured.items()})
        end = first["simulation"]
        drawn = draw_end(axes["end"], end, max(float(end.final.nan_to_num(0, 0, 0).max()), 0.1))
        axes["end"].set_title("Error at the end, by start")
        figures["end"].colorbar(drawn, ax=axes["end"])
        for name, figure in figures.items():
            if name in ("error", *(move.name for move in MOVES)):
                handles, labels = axes[name].get_legend_handles_labels()
                figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, columnspacing=1)
            figure.savefig(f"{path}-{name}.svg", transparent=True, metadata={"Date": None})
