"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigOrDefault = Annotated[
    Path | None,
    typer.Argument(help="A YAML, TOML or JSON file; left out, synthetic images.", metavar="CONFIG", show_default=False),
]

RunFolder = Annotated[
    Path, typer.Argument(help="Folder of a run, as `detloss train` printed it.", metavar="RUN", show_default=False)
]

CheckpointOf = Annotated[
    Literal["best", "last"] | None,
    typer.Option(
        "--checkpoint",
        help="The weights of the highest validation AP, or the last ones; by default what train.select says.",
        show_default=False,
    ),
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
