"""`detloss doctor`, which works without pydantic and rich."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, NamedTuple

import click

from detloss.cli.command import FAILED, Command, Result
from detloss.doctor import TIMEOUT, Diagnosis, Outcome, examine
from detloss.registry.plugin import HEAD_GROUP, Plugin
from detloss.text import counted, printable


def _seconds(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value < math.inf:  # as neither NaN is
        raise click.BadParameter(f"{value} is not a number of seconds above 0.")
    return value


@click.command("doctor", cls=Command, json="Print all of it as JSON, nothing else.")
@click.option(
    "--timeout",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    default=TIMEOUT,
    show_default=True,
    help="Time that the import of one plugin may take.",
)
def command(timeout: float) -> Result:
    """Find and explain problems of plugins and of what they need.

    Reads the metadata of all packages, loads each plugin in a process of its own, and tries torch, torchvision and
    compilers. Works if torch or pydantic cannot be imported. Exits with 1 if there is a problem.
    """
    with progress() as update:
        found = examine(timeout, update)
    return Result(_as_data(found), lambda: _print(list(_lines(found))), 0 if found.well else FAILED)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the current step on a terminal."""
    status: AbstractContextManager[Any] | None = None
    if sys.stderr.isatty():
        with contextlib.suppress(Exception):  # what shows it may itself be broken
            from detloss.cli.output import stderr

            status = stderr().status("Reading metadata")
    if status is None:
        yield lambda _: None
        return
    with status as shown:
        yield shown.update


def loading_data(outcome: Outcome) -> dict[str, object]:
    """Return the result of loading a plugin as JSON data."""
    seconds = None if outcome.seconds is None else round(outcome.seconds, 4)
    return {"loads": outcome.loads, "tried": outcome.tried, "error": outcome.error or None, "seconds": seconds}


class _Line(NamedTuple):
    text: str
    style: str = ""
    indent: int = 0


def _as_data(found: Diagnosis) -> dict[str, object]:
    def name(plugin: Plugin) -> dict[str, str]:
        fields = {key: getattr(plugin, key) for key in ("name", "package", "version", "location")}
        return {**fields, "group": plugin.group.name}

    return {
        "well": found.well,
        "findings": [
            {"subject" if key == "who" else key: value for key, value in asdict(one).items()} for one in found.findings
        ],
        "environment": found.environment,
        "plugins": [name(outcome.plugin) | loading_data(outcome) for outcome in found.outcomes],
        "left_out": [name(plugin) for plugin in found.left_out],
    }


def _lines(found: Diagnosis) -> Iterator[_Line]:
    width = max(map(len, found.environment)) + 2
    for name, value in found.environment.items():
        yield _Line(f"{name:<{width}}{value or 'none'}")
    yield _Line("")
    for one in found.findings:
        mark, style = ("wrong", "bold red") if one.wrong else ("note", "bold yellow")
        yield _Line(f"{mark}: {one.who} ({one.kind})", style)
        yield _Line(one.message, indent=2)
        if one.path:
            yield _Line(one.place, "dim", indent=2)
        yield _Line("")
    wrong = sum(finding.wrong for finding in found.findings)
    if wrong:
        yield _Line(f"{counted(wrong, 'problem')} found. {_checked(found)}", "bold red")
    else:
        yield _Line(f"No problem found. {_checked(found)}", "bold green")


def _checked(found: Diagnosis) -> str:
    heads = sum(outcome.plugin.group == HEAD_GROUP for outcome in found.outcomes)
    losses = counted(len(found.outcomes) - heads, "loss")
    packages = counted(len({outcome.plugin.location for outcome in found.outcomes}), "package")
    loaded = sum(outcome.loads for outcome in found.outcomes)
    return f"Checked {losses} and {counted(heads, 'head')} in {packages}; {loaded} load."


def _print(lines: list[_Line]) -> None:
    try:
        from rich.padding import Padding
        from rich.text import Text

        from detloss.cli.output import stdout
    except Exception:  # noqa: BLE001 - plain text says the same
        for line in lines:
            print(" " * line.indent + printable(line.text))
        return
    out = stdout()
    for line in lines:
        text = Text(line.text, line.style)
        out.print(Padding(text, (0, 0, 0, line.indent), expand=False) if line.indent else text)
