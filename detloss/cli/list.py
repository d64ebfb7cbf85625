"""`detloss list`."""

from __future__ import annotations

from typing import Annotated

import typer

from detloss.cli.listing import print_list


def command(
    heads: Annotated[
        bool, typer.Option("--heads", help="List the heads that losses can go into, instead of the losses.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print plugins and problems as JSON, nothing else.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Load each in a process of its own; exit 1 if one does not load.")
    ] = False,
) -> None:
    """List the losses that are installed, or the heads, and what is wrong with any package.

    Nothing is imported without `--check`: descriptions are read from the sources. `detloss show NAME` tells more of one
    loss.
    """
    raise typer.Exit(print_list(heads=heads, as_json=as_json, check=check))
