"""The directive ``{plugin-directory}``: a card for each package in plugins.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from docutils import nodes
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LIST = Path(__file__).with_name("plugins.toml")
NAME = r"^[A-Za-z][\w-]*$"


class Entry(BaseModel):
    """What the list says about one package."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=NAME)
    about: str = Field(pattern=r"^[A-Z].*\.$", max_length=100)
    losses: list[str] = []
    heads: list[str] = []
    hosts: list[str] = []
    license: str = Field(min_length=2)
    link: str = Field(pattern=r"^(https://\S+|[\w/-]+\.md)$")

    @model_validator(mode="after")
    def _has_something(self) -> Entry:
        if not self.losses + self.heads or bool(self.heads) != bool(self.hosts):
            raise ValueError("an entry has losses, or heads with the hosts that they are for")
        return self


def read(path: Path = LIST) -> list[Entry]:
    """Read the list; an error says which entry is wrong."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["plugin"]
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(Entry(**entry))
        except ValidationError as error:
            who = f"{path.name}: entry {number} ({entry.get('name', 'without a name')})"
            what = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ValueError(f"{who} is wrong: {what}. Fix: see the other entries.") from error
    return found


def card(entry: Entry) -> str:
    """Return one package as a card in Markdown."""
    kinds: dict[Literal["Losses", "Heads"], list[str]] = {"Losses": entry.losses, "Heads": entry.heads}
    names = [f"{kind}: {' '.join(f'`{name}`' for name in names)}\n" for kind, names in kinds.items() if names]
    target = f":link: {entry.link.removesuffix('.md')}\n:link-type: {'url' if '://' in entry.link else 'doc'}\n"
    footer = " · ".join([f"for {' and '.join(entry.hosts)}"] * bool(entry.hosts) + [entry.license])
    body = "\n".join([entry.about, "", *names, f":::{{card-footer}}\n{footer}\n:::"])
    return f"::::{{grid-item-card}} {entry.name}\n{target}\n{body}\n::::\n"


class PluginDirectory(SphinxDirective):
    """Shows all packages of the list."""

    def run(self) -> list[nodes.Node]:
        """Return the cards."""
        self.env.note_dependency(LIST)
        return self.parse_text_to_nodes(f":::::{{grid}} 1 1 2 2\n:gutter: 3\n\n{''.join(map(card, read()))}:::::\n")


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("plugin-directory", PluginDirectory)
