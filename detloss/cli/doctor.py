"""`detloss doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from detloss.cli.diagnosis import print_diagnosis


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON, nothing else.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="Time that the import of one plugin may take.")
    ] = 20.0,
) -> None:
    """Find and explain what is wrong with the installed plugins and with what they need.

    It reads the metadata of all packages, loads each plugin in a process of its own, and tries torch, torchvision and
    compilers. It works where torch or pydantic cannot be imported. Exit status 1 says that something is wrong.
    """
    # Only `detloss doctor --help` comes here: `detloss.cli.main` needs no typer for the rest.
    raise typer.Exit(print_diagnosis(as_json=as_json, timeout=timeout))
