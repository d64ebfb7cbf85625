"""Help and usage errors, drawn by rich-click.

It is imported for nothing else: it takes as long as `detloss list` does in all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import click


class Helpful(click.Command):
    """A command or group whose help is drawn by rich-click.

    Where that cannot be imported, click draws it.

    Attributes:
        sections: Title of a part of a group's help -> the commands in it.
    """

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}

    def get_help(self, ctx: click.Context) -> str:
        """Return the help as text."""
        try:
            import rich_click
        except Exception:  # noqa: BLE001 - rich may be what is broken
            return super().get_help(ctx)
        settings: dict[str, Any] = {"params": self.params, "help": self.help, "epilog": self.epilog}
        drawn: rich_click.RichCommand
        if isinstance(self, click.Group):
            settings["commands"] = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
            settings["panels"] = [
                rich_click.RichCommandPanel(title, commands=[*names]) for title, names in self.sections.items()
            ]
            drawn = rich_click.RichGroup(name=self.name, **settings)
        else:
            drawn = rich_click.RichCommand(name=self.name, **settings)
        context = rich_click.RichContext(drawn, info_name=ctx.info_name, parent=ctx.parent, rich_help_config=_CONFIG)
        return drawn.get_help(context)


def print_usage_error(error: click.ClickException) -> None:
    """Print wrong usage and the way to the help on stderr."""
    try:
        from rich_click import RichHelpConfiguration, RichHelpFormatter
    except Exception:  # noqa: BLE001 - as above
        error.show()
        return
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.message, file=sys.stderr)
        return
    formatter = RichHelpFormatter(config=RichHelpConfiguration(**_CONFIG))
    formatter.write_error(error)
    print(formatter.getvalue(), file=sys.stderr, end="")


_CONFIG: dict[str, Any] = {
    "commands_before_options": True,
    "padding_helptext_first_line": (0, 0, 1, 0),
    "show_arguments": True,
    "text_paragraph_linebreaks": "\n\n",
}
