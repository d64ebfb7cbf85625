"""The `detloss` command, whose commands are the files of this folder.

How to write a command ``NAME``: make ``detloss/cli/NAME.py`` with one function ``command``, a `click` command of class
`Command` whose docstring is its help (first line: the summary in `detloss --help`), and add ``NAME`` to `SECTIONS`.
The file is imported only when its command runs or when help lists the commands. At its top it imports the standard
library, click, `detloss.errors`, `detloss.text`, `detloss.cli.command` and `detloss.cli.options` (what several commands
take) only; rich, torch, pydantic and the rest of detloss are imported inside of functions. It returns a `Result` if it
has ``--json``; it prints notes to `detloss.cli.output.stderr()`, and lets every `DetlossError` out: `main` prints it
and exits with 1. Wrong usage (exit 2) is ``raise click.BadParameter(...)``.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

import click

from detloss._version import __version__
from detloss.cli.help import Helpful
from detloss.text import near

SECTIONS = {
    "Losses and configs": ("list", "show", "validate", "schema"),
    "Data and detectors": ("convert", "data", "train", "predict", "evaluate", "export"),
    "Which loss": ("plot", "compare", "calibrate"),
    "Plugins": ("new", "check", "doctor"),
}
"""Title of a part of the help -> the commands in it."""
COMMANDS = tuple(name for names in SECTIONS.values() for name in names)


class _Commands(Helpful, click.Group):
    """Imports the file of a command when the command is asked for."""

    sections = SECTIONS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands; none is imported."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command, or end with the near name."""
        if cmd_name in COMMANDS:
            return cast("click.Command", import_module(f"detloss.cli.{cmd_name}").command)
        if not ctx.resilient_parsing:  # as while a shell completes
            close = near(cmd_name, COMMANDS)
            ctx.fail(f"No such command {cmd_name!r}.{f' Did you mean {close!r}?' if close else ''}")
        return None


_EXAMPLES = """\
Examples:

detloss list — the losses that are installed

detloss show giou — one loss: its paper, parameters and weights

detloss train — train a small detector on synthetic images, as a first look

detloss convert VOC2012 voc — labels of Pascal VOC, YOLO or CVAT as COCO's JSON

detloss data config.yaml — look at what the loader sees

detloss train config.yaml --set losses.roi_heads=giou — train your own

detloss predict runs/NAME photos — boxes in your own images

detloss evaluate runs/NAME — how good they are, class by class

detloss export runs/NAME --format onnx — a file that needs no detloss

detloss compare config.yaml --losses smooth_l1,giou — which loss, and is it sure?

detloss plot smooth_l1 giou ciou — how losses differ, as images

detloss calibrate config.yaml — which weight a loss needs there

detloss new my_iou — write a plugin package

detloss check my_iou — find out whether a loss keeps what every loss promises

detloss doctor — find out what is wrong with anything installed

Completion in bash (in zsh and fish likewise): eval "$(_DETLOSS_COMPLETE=bash_source detloss)"
"""


@click.group(cls=_Commands, epilog=_EXAMPLES)
@click.version_option(__version__, prog_name="detloss", message="%(prog)s %(version)s")
def app() -> None:
    """Choose the box-regression loss of a torchvision detector by name.

    Losses come from installed packages; a config names one for each head of a detector.
    """
