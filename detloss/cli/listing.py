"""What `detloss list` prints: found without importing torch, pydantic or any plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from detloss.discovery import HEAD_GROUP, LOSS_GROUP, Plugin, Scan, scan
from detloss.metadata import printable

if TYPE_CHECKING:
    from rich.table import Table


def print_list(*, heads: bool = False, as_json: bool = False) -> None:
    """Print the installed losses or heads, the names that two packages claim, and what is wrong with any package."""
    found = scan(HEAD_GROUP if heads else LOSS_GROUP)
    if as_json:
        print(json.dumps(_as_data(found), indent=2))
        return
    from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

    out = stdout()
    if found.plugins:
        out.print(_table(found))
    elif heads:
        out.print("No head is installed: the metadata of detloss is missing. Install detloss again.", markup=False)
    else:
        out.print("No loss is installed. `python -m pip install 'detloss[losses]'` brings a first set.", markup=False)
    if found.conflicts or found.problems:
        out.print()
    for name, claims in found.conflicts.items():
        packages = " and ".join(f"{plugin.package} {plugin.version}" for plugin in claims)
        choices = " or ".join(plugin.full_name for plugin in claims)
        out.print(
            f"Conflict: {name!r} is claimed by {packages}. Write {choices} in a config, or uninstall one of them.",
            markup=False,
            highlight=False,
        )
    for problem in found.problems:
        out.print(f"Problem: {problem}", markup=False, highlight=False)


def _as_data(found: Scan) -> dict[str, object]:
    conflicts = found.conflicts
    return {
        "plugins": [
            {
                "name": plugin.name,
                "package": plugin.package,
                "version": plugin.version,
                **({"space": plugin.space} if plugin.group == LOSS_GROUP else {}),
                "description": plugin.description,
                "module": plugin.module,
                "attribute": plugin.attribute,
                "location": plugin.location,
                "conflict": plugin.name in conflicts,
            }
            for plugin in found.plugins
        ],
        "problems": [asdict(problem) for problem in found.problems],
    }


def _table(found: Scan) -> Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - as in `command`
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from detloss.cli.output import plain  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    columns: dict[str, Callable[[Plugin], str]] = {
        "name": lambda plugin: plugin.full_name if plugin.name in conflicts else plugin.name,
        "space": lambda plugin: plugin.space,
        "description": lambda plugin: plain(plugin.description),
        "package": lambda plugin: plugin.package,
        "version": lambda plugin: plugin.version,
    }
    conflicts = found.conflicts
    if any(plugin.group == HEAD_GROUP for plugin in found.plugins):
        del columns["space"]
    for heading in columns:
        table.add_column(heading, style="bold cyan" if heading == "name" else None, overflow="fold")
    for plugin in found.plugins:
        table.add_row(*(Text(printable(cell(plugin))) for cell in columns.values()))
    return table
