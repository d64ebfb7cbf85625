"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOrDefault = Annotated[
    Path | None,
    typer.Argument(help="A YAML, TOML or JSON file; left out, synthetic images.", metavar="CONFIG", show_default=False),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY.PATH=VALUE",
        help="Replace or add a value of the config; repeatable. The value is YAML.",
        show_default=False,
    ),
]
