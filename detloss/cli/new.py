"""`detloss new`: write a plugin package."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import Command
from detloss.cli.options import PATH

if TYPE_CHECKING:
    from detloss.scaffold import Question


@click.command("new", cls=Command)
@click.argument("name", required=False, help="Name of the loss in configs, such as power_iou.")
@click.option("--title", help="What the paper calls the loss; by default made of the name.")
@click.option(
    "--paper", help="The citation, as in 'He et al., NeurIPS 2021, arXiv 2110.13675'; by default unpublished."
)
@click.option(
    "--space",
    type=click.Choice(["boxes", "deltas"]),
    help="What it compares: boxes in pixels (the default), or the head's deltas.",
)
@click.option(
    "--parameter",
    "-p",
    "parameters",
    multiple=True,
    metavar="NAME=DEFAULT",
    help="A parameter, with bounds if you like: alpha=3.0:ge=1,le=10; repeatable. By default it has none.",
)
@click.option("--author", help="Who holds the copyright; by default the package's authors.")
@click.option(
    "--licence",
    "--license",
    "license_",
    type=click.Choice(["MIT", "BSD-3-Clause", "Apache-2.0"]),
    metavar="NAME",
    help="MIT, BSD-3-Clause (the default) or Apache-2.0; its whole text is written.",
)
@click.option("--class-name", help="By default made of the name: PowerIoULoss.")
@click.option("--package", help="By default detloss- and the name: detloss-power-iou.")
@click.option("--output", "-o", type=PATH, help="Folder to write; by default the package's name.")
@click.option("--no-input", is_flag=True, help="Ask nothing: what is not given gets a default.")
def command(
    name: str | None,
    *,
    parameters: tuple[str, ...],
    license_: str | None,
    package: str | None,
    output: Path | None,
    no_input: bool,
    **answers: str | None,
) -> None:
    """Write a complete plugin package for a loss of your own.

    It has a loss that runs, tests, README, license and CI, and passes ruff, mypy and its tests as it is. You write the
    formula. On a terminal the command asks for what is not given. Nothing that exists is overwritten.

    For example:

    detloss new power_iou

    detloss new power_iou --title "Power IoU" --parameter alpha=3.0:ge=1,le=10 --no-input
    """
    answers |= {"parameters": " ".join(parameters) or None, "license": license_, "distribution": package}
    given = {key: value for key, value in answers.items() if value is not None}
    # Python has None for a stream that was closed when it started.
    ask = not no_input and sys.stdin is not None and sys.stdin.isatty()
    if not ask:
        _check_given(name, given, no_input)
    _write(name, output, given, ask)


def _asked(question: Question, default: str) -> str:
    """Ask on the terminal until the answer can be used."""

    def checked(answer: str) -> str:
        if problem := question.problem(answer.strip()):
            raise click.BadParameter(problem)
        return answer

    # Without a default an empty answer is asked again.
    shown = default if default or question.key == "parameters" else None
    return str(click.prompt(question.text, default=shown, show_default=bool(default), value_proc=checked))


def _check_given(name: str | None, given: dict[str, Any], no_input: bool) -> None:
    """Refuse to guess what only the author knows.

    A terminal can be asked, and `--no-input` says that a guess will do.
    """
    missing = ["NAME"] * (name is None)
    why, advice = (
        "--no-input asks for nothing",
        "Write what configs are to call the loss: detloss new power_iou --no-input",
    )
    if not no_input:
        missing += [option for key, option in _ASKED.items() if key not in given]
        why, advice = "there is no terminal to ask on", "Write them out, or --no-input to take the defaults."
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise click.BadParameter(f"{', '.join(missing)} {are} not given, and {why}. {advice}")


def _write(name: str | None, output: Path | None, given: dict[str, Any], ask: bool) -> None:
    from detloss.cli.output import stdout
    from detloss.scaffold import NAME, write_plugin

    name = _asked(NAME, "") if name is None else name
    folder, files = write_plugin(name, output, given, ask=_asked if ask else None)
    out = stdout()
    out.print(f"Wrote {folder}", soft_wrap=True)
    width = max(map(len, files))
    for file in sorted(files, key=lambda file: (file.startswith("."), file)):
        out.print(f"  {file:<{width}}  {_meaning(file)}".rstrip(), soft_wrap=True)
    out.print(
        f"\nNext, write the formula in its place, and\n  cd {shlex.quote(str(folder))}\n"
        f"  pip install --editable '.[test]'\n  detloss check {name}",
        soft_wrap=True,
    )


def _meaning(file: str) -> str:
    return next((meaning for end, meaning in _MEANINGS.items() if file.startswith(end) or file.endswith(end)), "")


_ASKED = {"title": "--title", "paper": "--paper", "space": "--space", "parameters": "--parameter"}
"""Question -> option, of what has no default that could be right."""

_MEANINGS = {
    "__init__.py": "the loss: write the formula here",
    "py.typed": "says to type checkers that the package has types",
    "tests/": "the conformance kit, and a value worked out by hand",
    "pyproject.toml": "the name that configs use, and what the package needs",
    "README.md": "what it is, and how it is used",
    "LICENSE": "the license",
    ".github/": "the same tests on GitHub",
}
