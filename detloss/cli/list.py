"""`detloss list`: what is installed, found without importing torch, pydantic or any plugin into this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from detloss.cli.command import FAILED, Command, Result
from detloss.errors import MAX_SHOWN
from detloss.registry.allow_list import VARIABLE
from detloss.registry.plugin import HEAD_GROUP, LOSS_GROUP, Group, Plugin
from detloss.registry.scan import Scan, contested, scan

if TYPE_CHECKING:
    from rich.table import Table

    from detloss.doctor import Loading


@click.command("list", cls=Command, json="Print plugins and problems as JSON, nothing else.")
@click.option("--heads", is_flag=True, help="List the heads that losses can go into, instead of the losses.")
@click.option("--check", is_flag=True, help="Load each in a process of its own; exit 1 if one does not load.")
def command(heads: bool, check: bool) -> Result:
    """List the losses that are installed, or the heads, and what is wrong with any package.

    Nothing is imported without `--check`: descriptions are read from the sources. `detloss show NAME` tells more of one
    loss.
    """
    group = HEAD_GROUP if heads else LOSS_GROUP
    found = scan().of(group)
    loading = _load(found.plugins) if check else None
    status = FAILED if loading is not None and not all(outcome.loads for outcome in loading.outcomes) else 0
    return Result(_as_data(found, loading), lambda: _print(found, group, loading), status)


def _print(found: Scan, group: Group, loading: Loading | None) -> None:
    from detloss.cli.output import stdout

    out = stdout()
    if found.plugins:
        out.print(_table(found, loading))
    elif found.left_out:
        pass  # said below, or by what is wrong with the variable
    elif group == HEAD_GROUP:
        out.print("No head is installed: the metadata of detloss is missing. Install detloss again.")
    else:
        out.print("No loss is installed. `python -m pip install 'detloss[losses]'` brings a first set.")
    if found.conflicts or found.problems:
        out.print()
    for name, claims in found.conflicts.items():
        out.print(f"Conflict: {name!r} {contested(claims)}")
    for problem in found.problems[:MAX_SHOWN]:
        out.print(f"Problem: {problem}")
    if (hidden := len(found.problems) - MAX_SHOWN) > 0:
        out.print(f"... and {hidden} more problems: `detloss list --json`.")
    if loading is not None:
        for line in _why_not(loading):
            out.print(line)
    if found.left_out and found.allow_list_error is None:
        kind = group.kind if len(found.left_out) == 1 else group.plural
        more = " more" if found.plugins else ", all that are installed"
        out.print(f"{VARIABLE} leaves out {len(found.left_out)} {kind}{more}.")


def _load(plugins: tuple[Plugin, ...]) -> Loading:
    from detloss.cli.doctor import progress
    from detloss.doctor import load_apart

    with progress() as update:
        return load_apart(plugins, progress=update)


def _why_not(loading: Loading) -> Iterator[str]:
    for library in loading.libraries.values():
        if not library.imported:
            yield f"{library.name} cannot be imported: {library.error}. `detloss doctor` says more."
    for outcome in loading.outcomes:
        if outcome.error:
            yield f"Problem: {outcome.error}"


def _as_data(found: Scan, loading: Loading | None) -> dict[str, object]:
    conflicts = found.conflicts
    checked: list[dict[str, object]] = [{} for _ in found.plugins]
    if loading is not None:
        from detloss.cli.doctor import loading_data

        checked = [loading_data(outcome) for outcome in loading.outcomes]
    return {
        "plugins": [
            {
                **_fields(plugin, "name", "package", "version"),
                **({"space": plugin.space} if plugin.group == LOSS_GROUP else {}),
                **_fields(plugin, "description", "module", "attribute", "location"),
                "conflict": plugin.name in conflicts,
                **outcome,
            }
            for plugin, outcome in zip(found.plugins, checked, strict=True)
        ],
        "left_out": [_fields(plugin, "name", "package", "version", "location") for plugin in found.left_out],
        "problems": [
            {"message": one.message, "package": one.who, "path": one.path, "line": one.line} for one in found.problems
        ],
    }


def _fields(plugin: Plugin, *names: str) -> dict[str, object]:
    return {name: getattr(plugin, name) for name in names}


def _table(found: Scan, loading: Loading | None) -> Table:
    from detloss.cli.output import new_table, plain

    conflicts = found.conflicts
    columns: dict[str, Callable[[Plugin], str]] = {
        "name": lambda plugin: plugin.full_name if plugin.name in conflicts else plugin.name,
        "space": lambda plugin: plugin.space,
        "description": lambda plugin: plain(plugin.description),
        "package": lambda plugin: plugin.package,
        "version": lambda plugin: plugin.version,
    }
    if any(plugin.group == HEAD_GROUP for plugin in found.plugins):
        del columns["space"]
    if loading is not None:
        loads = {outcome.plugin: "yes" if outcome.loads else "no" for outcome in loading.outcomes}
        columns["loads"] = lambda plugin: loads[plugin]
    table = new_table(*columns)
    for plugin in found.plugins:
        table.add_row(*(cell(plugin) for cell in columns.values()))
    return table
