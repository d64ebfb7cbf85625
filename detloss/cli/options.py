"""Arguments and options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
"""A file or folder, which the command itself opens: its error says more than click's."""

config_or_default = click.argument(
    "config", type=PATH, required=False, help="A YAML, TOML or JSON file; without it, synthetic images."
)
run_folder = click.argument("run", type=PATH, help="Folder of a run, as `detloss train` printed it.")
checkpoint_of = click.option(
    "--checkpoint",
    type=click.Choice(["best", "last"]),
    help="The weights of the highest validation AP, or the last ones; by default what train.select says.",
)
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Replace or add a value of the config; repeatable. The value is YAML.",
)


def print_default(what: str, text: Callable[[], str]) -> Callable[[Any], Any]:
    """Return an option that prints the default config and exits."""

    def show(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
        if asked and not ctx.resilient_parsing:
            print(text(), end="")
            ctx.exit()

    return click.option(
        "--print-default",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help=f"Print the {what} that is used without one, and exit.",
    )
