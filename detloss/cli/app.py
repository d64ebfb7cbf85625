"""The `detloss` command: collects the commands, each of which is one file of this folder.

How to write a command ``NAME``: make ``detloss/cli/NAME.py`` with one public function ``command(...)`` annotated for
typer, whose docstring is the command's help (first line: the summary in `detloss --help`), and add ``NAME`` to
`COMMANDS`. The file is imported only when its command runs or when help lists the commands. At its top it imports the
standard library, typer, rich, `detloss.errors` and `detloss.cli.options` (what several commands take) only; torch,
pydantic and the rest of detloss are imported inside the function. It prints results to stdout with
`detloss.cli.output.stdout()`, notes to stderr with `stderr()`, and lets every `DetlossError` out: `main` prints it and
exits with 1. Wrong usage (exit 2) is ``raise typer.BadParameter(...)``.
`list` and `doctor`, which `main` runs without typer, import it for types only: their annotations find it here.
"""

import inspect
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from detloss._version import __version__
from detloss.errors import DetlossError
from detloss.text import near

COMMANDS = (
    "list", "show", "validate", "schema",
    "convert", "data", "train", "predict", "evaluate", "export", "compare", "calibrate",
    "new", "check", "doctor",
)  # fmt: skip
"""In the order of help: what there is, what to do with it, then a plugin author's side and what is wrong."""


class _PlainFlags:
    """Shows flags without a type: ``--json <bool>`` would read as if it took a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the arguments and options."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_PlainFlags, TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; a plugin that calls ``sys.exit(0)`` in it must not make it look like a success."""
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            if error.code:
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            what = f"code of a plugin ended the command with sys.exit({error.code}), at {frame.filename}:{frame.lineno}"
            raise DetlossError(f"{what}. Tell its authors.") from error


class _Commands(_PlainFlags, TyperGroup):
    """Imports the file of a command when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all commands; none is imported."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one command, or end with the near names."""
        if cmd_name not in COMMANDS:
            close = near(cmd_name, COMMANDS)
            ctx.fail(f"No such command {cmd_name!r}.{f' Did you mean {close!r}?' if close else ''}")
        module = import_module(f"detloss.cli.{cmd_name}")
        vars(module).setdefault("typer", typer)
        command = module.command
        # Typer keeps the line breaks of the source in all but the first paragraph; the terminal wraps them anew.
        paragraphs = inspect.cleandoc(command.__doc__).split("\n\n")
        single = typer.Typer(add_completion=False)
        single.command(cmd_name, cls=_Command, help="\n\n".join(" ".join(each.splitlines()) for each in paragraphs))(
            command
        )
        return typer.main.get_command(single)


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"detloss {__version__}")
        raise typer.Exit


@app.callback(
    epilog="""\
[bold]Examples[/bold]

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

detloss calibrate config.yaml — which weight a loss needs there

detloss new my_iou — write a plugin package

detloss check my_iou — find out whether a loss keeps what every loss promises

detloss doctor — find out what is wrong with anything installed
"""
)
def _detloss(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Choose the box-regression loss of a torchvision detector by name.

    Losses come from installed packages; a config names one for each head of a detector.
    """
    del version
