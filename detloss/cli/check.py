"""`detloss check NAME`: whether a loss keeps what every loss promises."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from detloss.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.loss import LossSpec
    from detloss.testing import Report


def command(
    name: Annotated[
        str | None,
        typer.Argument(help="A loss, as `detloss list` names it, or package:name.", metavar="NAME", show_default=False),
    ] = None,
    *,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter of the loss; repeatable. The value is YAML."),
    ] = None,
    exceptions: Annotated[
        list[str] | None,
        typer.Option(
            "--except",
            metavar="CHECK=REASON",
            help="Excuse a check that the loss cannot pass, and say why; repeatable. It is an error once it passes.",
        ),
    ] = None,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks instead; no loss is needed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, nothing else.")] = False,
) -> None:
    """Check that a loss keeps what every loss promises, such as finite gradients for boxes without area.

    Runs every check of the conformance kit, on the CPU, and ends with 1 if one fails. The loss's package is imported
    for this.
    """
    if list_checks:
        _list_checks(as_json)
        return
    if name is None:
        raise typer.BadParameter("Name a loss (`detloss list` shows them), or list the checks with --list.")
    # What a loss prints must not end up in the JSON.
    with _stdout_to_stderr():
        report = _checked(name, overrides or [], _declared(exceptions or []))
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

        _print(stdout(), report)
    if not report.passed:
        raise typer.Exit(1)


def _checked(name: str, overrides: list[str], exceptions: dict[str, str]) -> Report:
    from rich.markup import escape  # noqa: PLC0415 - help needs none of it
    from rich.progress import track  # noqa: PLC0415

    from detloss.cli.output import stderr  # noqa: PLC0415
    from detloss.testing import CHECKS, Report  # noqa: PLC0415
    from detloss.testing.report import check_exceptions, results  # noqa: PLC0415
    from detloss.testing.subject import subject_of  # noqa: PLC0415

    try:
        check_exceptions(exceptions)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    subject = subject_of(_spec(name, overrides) if overrides else name)
    console = stderr()
    bar = track(
        results(subject, exceptions),
        f"Checking {escape(subject.who)}",
        total=len(CHECKS),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    ended = []
    try:
        for result in bar:
            ended.append(result)  # noqa: PERF402 - what ended before an interrupt is needed
    except KeyboardInterrupt:
        console.print(f"Interrupted in the check {CHECKS[len(ended)].name} of {subject.who}.")
        raise
    return Report(subject.who, tuple(ended))


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what is printed, by Python and by the libraries below it."""
    with contextlib.redirect_stdout(sys.stderr) as stderr, contextlib.ExitStack() as after:
        # Python has None for a stream that was closed when it started.
        if stderr is not None and sys.__stdout__ is not None:
            sys.__stdout__.flush()
            own = os.dup(_STDOUT)
            after.callback(os.close, own)
            after.callback(os.dup2, own, _STDOUT)
            os.dup2(_STDERR, _STDOUT)
        yield


def _declared(exceptions: list[str]) -> dict[str, str]:
    declared = {}
    for each in exceptions:
        check, sign, reason = each.partition("=")
        if not sign:
            raise typer.BadParameter(f"An exception is CHECK=REASON, found {each!r}.")
        declared[check.strip()] = reason
    return declared


def _spec(name: str, overrides: list[str]) -> LossSpec:
    """Return the spec of a loss with parameters as `--set` gives them, read like those of a config."""
    from detloss.config import load_config  # noqa: PLC0415 - help needs none of it
    from detloss.loss import ENVELOPE  # noqa: PLC0415

    for override in overrides:
        key, sign, _ = override.partition("=")
        if not sign:
            raise typer.BadParameter(f"A parameter is KEY=VALUE, found {override!r}.")
        if key.strip() in ENVELOPE:
            raise typer.BadParameter(
                f"{key.strip()!r} is no parameter of a loss: a config has it beside them, and no check looks at it."
            )
    at = "losses.roi_heads"  # any head: a loss has the same parameters in all of them
    try:
        config = load_config(
            {"model": "any", "losses": {"roi_heads": name}}, overrides=[f"{at}.{override}" for override in overrides]
        )
    except ConfigError as error:
        found = [
            replace(
                each, key=each.key.removeprefix(at).lstrip("."), file="--set" if each.override else None, override=False
            )
            for each in error.findings
        ]
        raise ConfigError(found) from None
    (spec,) = config.losses["roi_heads"]
    return spec


def _list_checks(as_json: bool) -> None:
    from detloss.testing import CHECKS  # noqa: PLC0415 - help needs none of it

    if as_json:
        print(json.dumps([{"check": check.name, "proves": check.proves} for check in CHECKS], indent=2))
        return
    from detloss.cli.output import new_table, plain, stdout  # noqa: PLC0415 - `--json` has no use for rich

    table = new_table("check", "what it proves", whole=True)
    for check in CHECKS:
        table.add_row(check.name, plain(check.proves))
    stdout().print(table, f"\n{len(CHECKS)} checks", sep="\n")


def _print(out: Console, report: Report) -> None:
    from rich.text import Text  # noqa: PLC0415 - as in `command`

    from detloss.cli.output import new_table, plain  # noqa: PLC0415

    table = new_table("check", "outcome", "what it proves, or what is wrong", whole=True)
    for result in report.results:
        word, style = _OUTCOMES[result.outcome]
        said = plain(result.message or result.check.proves)
        table.add_row(result.check.name, Text(word, style), Text(said, style if result.outcome == "failed" else ""))
    out.print(report.loss, style="bold")
    out.print(table)
    out.print(f"\n{report.summary}", style="bold" if report.passed else "bold red")


_STDOUT, _STDERR = 1, 2
"""File descriptors of every process."""
_OUTCOMES = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "red"),
    "excepted": ("excepted", "yellow"),
    "not_applicable": ("n/a", "dim"),
}
