"""`detloss list`: what is installed, found without importing any of it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click

from detloss.cli.command import FAILED, Command, Result
from detloss.errors import MAX_SHOWN
from detloss.registry.allow_list import VARIABLE
from detloss.registry.hosts import host_of
from detloss.registry.plugin import HEAD_GROUP, LOSS_GROUP, Group, Plugin
from detloss.registry.scan import Scan, contested, scan
from detloss.text import clipped, counted

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.doctor import Loading


@click.command("list", cls=Command, json="Print plugins and problems as JSON, nothing else.")
@click.option("--space", type=click.Choice(["boxes", "deltas"]), help="Only the losses of boxes, or of deltas.")
@click.option("--long", is_flag=True, help="Print formulas, on as many lines as they need.")
@click.option("--heads", is_flag=True, help="List the heads that losses can go into, instead of the losses.")
@click.option("--check", is_flag=True, help="Load each in a process of its own; exit 1 if one does not load.")
def command(*, space: str | None, long: bool, heads: bool, check: bool) -> Result:
    """List the installed losses or heads, and problems of packages.

    Nothing is imported without `--check`: titles and formulas are read from the sources. `detloss show NAME` says more
    about one loss.
    """
    if heads and space:
        raise click.BadParameter("a head has no space. Fix: leave --heads or --space out.", param_hint="--space")
    group = HEAD_GROUP if heads else LOSS_GROUP
    found = scan().of(group)
    plugins = [plugin for plugin in found.plugins if space in (None, plugin.space)]
    loading = _load(plugins) if check else None
    status = FAILED if loading is not None and not all(outcome.loads for outcome in loading.outcomes) else 0
    data = _as_data(found, plugins, loading)
    return Result(data, lambda: _print(found, plugins, loading, group, long=long or heads), status)


def _print(found: Scan, plugins: Sequence[Plugin], loading: Loading | None, group: Group, *, long: bool) -> None:
    from detloss.cli.output import stdout

    out = stdout()
    if plugins:
        _print_plugins(out, found, plugins, loading, long=long)
    elif found.plugins:
        out.print("No installed loss has this space. `detloss list` shows all losses.")
    elif found.left_out:
        pass  # said below, or by what is wrong with the variable
    elif group == HEAD_GROUP:
        out.print("No head is installed: the metadata of detloss is missing. Install detloss again.")
    else:
        out.print("No loss is installed. Fix: install a package of losses, such as detloss-iou.")
    if found.conflicts or found.problems:
        out.print()
    for name, claims in found.conflicts.items():
        out.print(f"Conflict: {name!r} {contested(claims)}")
    for problem in found.problems[:MAX_SHOWN]:
        out.print(f"Problem: {problem}")
    if (hidden := len(found.problems) - MAX_SHOWN) > 0:
        out.print(f"... and {counted(hidden, 'more problem')}: `detloss list --json`.")
    if loading is not None:
        for line in _why_not(loading):
            out.print(line)
    if found.left_out and found.allow_list_error is None:
        more = "more" if found.plugins else "installed"
        out.print(f"{VARIABLE} excludes {counted(len(found.left_out), f'{more} {group.kind}')}.")


def _print_plugins(
    out: Console, found: Scan, plugins: Sequence[Plugin], loading: Loading | None, *, long: bool
) -> None:
    """Print each package, and below it a line for each plugin.

    With ``long`` a plugin has as many lines as it needs.
    """
    from rich.text import Text

    from detloss.cli.output import plain

    loads = {} if loading is None else {one.plugin: "loads" if one.loads else "fails" for one in loading.outcomes}
    names = {plugin: plugin.full_name if plugin.name in found.conflicts else plugin.name for plugin in plugins}
    lines: list[Text] = []
    widest = max(map(len, names.values()))
    for owner, own in groupby(sorted(plugins, key=lambda plugin: plugin.owner), lambda plugin: plugin.owner):
        shown = list(own)
        lines.append(Text(owner, "bold") + Text(_hosts(shown)))
        for plugin in shown:
            columns = [f"  {names[plugin]:<{widest}}"]
            if plugin.group == LOSS_GROUP:
                columns.append(f"{plugin.space:<6}")
            if loads:
                columns.append(loads[plugin])
            start = "  ".join(columns) + "  "
            if long:
                about = textwrap.wrap(
                    plain(plugin.description).removeprefix(f"{plugin.name}: "), max(out.width - len(start), 20)
                ) or [""]
            else:
                about = [clipped(plain(plugin.title), max(min(out.width, _WIDTH) - len(start) - len("..."), 8))]
            line = Text(f"\n{' ' * len(start)}".join([start + about[0], *about[1:]]))
            line.stylize("cyan", 2, len(columns[0]))
            lines.append(line)
    out.print(Text("\n").join(lines), soft_wrap=True)


def _hosts(plugins: Sequence[Plugin]) -> str:
    """Say which libraries the heads of a package are for."""
    found = dict.fromkeys(host for plugin in plugins if plugin.group == HEAD_GROUP and (host := host_of(plugin)))
    if not found:
        return ""
    said = [f"{host.requirement} ({host.installed or 'not'} installed)" for host in found]
    return f", for {' and '.join(said)}"


def _load(plugins: Sequence[Plugin]) -> Loading:
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


def _as_data(found: Scan, plugins: Sequence[Plugin], loading: Loading | None) -> dict[str, object]:
    conflicts = found.conflicts
    checked: list[dict[str, object]] = [{} for _ in plugins]
    if loading is not None:
        from detloss.cli.doctor import loading_data

        checked = [loading_data(outcome) for outcome in loading.outcomes]
    return {
        "plugins": [
            {
                **_fields(plugin, "name", "package", "version"),
                **(_fields(plugin, "space", "title") if plugin.group == LOSS_GROUP else {}),
                **(_host_fields(plugin) if plugin.group == HEAD_GROUP else {}),
                **_fields(plugin, "description", "module", "attribute", "location"),
                "conflict": plugin.name in conflicts,
                **outcome,
            }
            for plugin, outcome in zip(plugins, checked, strict=True)
        ],
        "left_out": [_fields(plugin, "name", "package", "version", "location") for plugin in found.left_out],
        "problems": [
            {"message": one.message, "package": one.who, "path": one.path, "line": one.line} for one in found.problems
        ],
    }


def _host_fields(plugin: Plugin) -> dict[str, object]:
    host = host_of(plugin)
    return {"host": None if host is None else asdict(host)}


def _fields(plugin: Plugin, *names: str) -> dict[str, object]:
    return {name: getattr(plugin, name) for name in names}


_WIDTH = 80
"""Columns that a line of the list has at most, in a wider terminal and in a pipe too."""
