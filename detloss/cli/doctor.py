"""`detloss doctor`, which runs without typer, and without rich where that cannot be imported.

typer may load pydantic, which is one of the things that may be broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from detloss.doctor import TIMEOUT, Diagnosis, Outcome, examine
from detloss.registry.plugin import HEAD_GROUP, Plugin
from detloss.text import printable

if TYPE_CHECKING:
    import typer  # as `detloss.cli.app` says


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON, nothing else.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="Time that the import of one plugin may take.")
    ] = TIMEOUT,
) -> None:
    """Find and explain what is wrong with the installed plugins and with what they need.

    It reads the metadata of all packages, loads each plugin in a process of its own, and tries torch, torchvision and
    compilers. It works where torch or pydantic cannot be imported. Exit status 1 says that something is wrong.
    """
    # Only `detloss doctor --help` comes here: `detloss.cli.main` needs no typer for the rest.
    from typer import Exit  # noqa: PLC0415 - as the head of this file says

    raise Exit(print_diagnosis(as_json=as_json, timeout=timeout))


def run(options: list[str]) -> int:
    """Run `detloss doctor` with these options and return the exit status."""
    parser = argparse.ArgumentParser("detloss doctor", allow_abbrev=False, add_help=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timeout", type=_seconds, default=TIMEOUT, metavar="SECONDS")
    given = parser.parse_args(options)
    return print_diagnosis(as_json=given.json, timeout=given.timeout)


def print_diagnosis(*, as_json: bool, timeout: float) -> int:
    """Examine, print what was found, and return the exit status: 1 where something is wrong."""
    with progress() as update:
        found = examine(timeout, update)
    if as_json:
        print(json.dumps(_as_data(found), indent=2))
    else:
        _print(list(_lines(found)))
    return 0 if found.well else 1


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows on a terminal what goes on, in stderr's last line."""
    status: AbstractContextManager[Any] | None = None
    if sys.stderr.isatty():
        with contextlib.suppress(Exception):  # what shows it may itself be broken
            from detloss.cli.output import stderr  # noqa: PLC0415

            status = stderr().status("Reading metadata")
    if status is None:
        yield lambda _: None
        return
    with status as shown:
        yield shown.update


def loading_data(outcome: Outcome) -> dict[str, object]:
    """Return what came of loading a plugin, as data for JSON."""
    seconds = None if outcome.seconds is None else round(outcome.seconds, 4)
    return {"loads": outcome.loads, "tried": outcome.tried, "error": outcome.error or None, "seconds": seconds}


class _Line(NamedTuple):
    text: str
    style: str = ""
    indent: int = 0


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


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
        yield _Line(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong. {_looked_at(found)}", "bold red")
    else:
        yield _Line(f"All is well. {_looked_at(found)}", "bold green")


def _looked_at(found: Diagnosis) -> str:
    heads = [outcome for outcome in found.outcomes if outcome.plugin.group == HEAD_GROUP]
    losses = len(found.outcomes) - len(heads)
    packages = len({outcome.plugin.location for outcome in found.outcomes})
    loaded = sum(outcome.loads for outcome in found.outcomes)
    return (
        f"Looked at the metadata of all packages, and at {losses} {'loss' if losses == 1 else 'losses'} and "
        f"{len(heads)} head{'s' * (len(heads) != 1)} of {packages} package{'s' * (packages != 1)}, of which "
        f"{loaded} load."
    )


def _print(lines: list[_Line]) -> None:
    try:
        from rich.padding import Padding  # noqa: PLC0415 - it may be missing or broken
        from rich.text import Text  # noqa: PLC0415

        from detloss.cli.output import stdout  # noqa: PLC0415
    except Exception:  # noqa: BLE001 - plain text says the same
        for line in lines:
            print(" " * line.indent + printable(line.text))
        return
    out = stdout()
    for line in lines:
        text = Text(line.text, line.style)
        out.print(Padding(text, (0, 0, 0, line.indent), expand=False) if line.indent else text)
