"""Write the table of detloss's own losses into docs/losses.md; ``--check`` only compares."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from loss_pages import FORMULAS, table
from pages import rewrite

from detloss import find_plugins
from detloss.cli.show import describe
from detloss.registry import load

OUTPUT = Path(__file__).with_name("losses.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or check the page."""
    rewrite(__file__, __doc__, OUTPUT, page, arguments)


def page(text: str) -> str:
    """Return the page with the table of today; a loss's name leads to its file."""
    plugins = {plugin.name: plugin for plugin in find_plugins() if plugin.package in FORMULAS}
    known = {name: describe(load(plugin)) for name, plugin in plugins.items()}
    links = {name: os.path.relpath(one["file"], OUTPUT.parent) for name, one in known.items()}
    found = f"<!-- table -->\n{table(known, plugins, links)}<!-- end of table -->\n"
    return re.sub("<!-- table -->\n.*?<!-- end of table -->\n", lambda _: found, text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    main()
