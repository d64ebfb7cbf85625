"""`detloss list`."""

from __future__ import annotations

from typing import Annotated

import typer

from detloss.cli.listing import print_list


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print plugins and problems as JSON, nothing else.")] = False,
) -> None:
    """List the losses that are installed, and what is wrong with any package.

    Nothing is imported: descriptions are read from the sources. `detloss show NAME` tells more of one loss.
    """
    print_list(as_json=as_json)
