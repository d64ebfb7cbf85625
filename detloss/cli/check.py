"""`detloss check NAME`: whether a loss or a head keeps what each promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from detloss.cli.command import FAILED, Command, Result
from detloss.errors import ConfigError

if TYPE_CHECKING:
    from detloss.loss import LossSpec
    from detloss.testing import Check, Report


@click.command("check", cls=Command, json="Print the report as JSON, nothing else.")
@click.argument("name", required=False, help="A loss, as `detloss list` names it, or package:name.")
@click.option("--head", is_flag=True, help="NAME is a head, as `detloss list --heads` names it.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a parameter of the loss; repeatable. The value is YAML.",
)
@click.option(
    "--except",
    "exceptions",
    multiple=True,
    metavar="CHECK=REASON",
    help="Excuse a check that cannot pass, and say why; repeatable. It is an error once it passes.",
)
@click.option("--list", "list_checks", is_flag=True, help="List the checks instead; no loss is needed.")
def command(
    name: str | None, *, head: bool, overrides: tuple[str, ...], exceptions: tuple[str, ...], list_checks: bool
) -> Result:
    """Check that a loss, or a head, keeps what each promises.

    For example that a loss's gradients are finite for boxes without area, or that a head with its stock loss equals the
    model without. Runs every check of the conformance kit on the CPU, and exits with 1 if one fails. The package is
    imported.
    """
    from detloss.testing import CHECKS, HEAD_CHECKS

    checks = HEAD_CHECKS if head else CHECKS
    if list_checks:
        found = [{"check": check.name, "proves": check.proves} for check in checks]
        return Result(found, lambda: _print_checks(checks))
    if name is None:
        raise click.BadParameter("Name a loss (`detloss list` shows them), or list the checks with --list.")
    if head and overrides:
        raise click.BadParameter("a head has no parameters. Fix: leave --set out.", param_hint="--set")
    report = _checked(name, overrides, _declared(exceptions), checks)
    return Result(report.as_dict(), lambda: _print(report), 0 if report.passed else FAILED)


def _checked(name: str, overrides: Sequence[str], exceptions: dict[str, str], checks: tuple[Check, ...]) -> Report:
    from rich.markup import escape
    from rich.progress import track

    from detloss.cli.output import stderr
    from detloss.testing import Report
    from detloss.testing.report import check_exceptions, results

    try:
        check_exceptions(exceptions, checks)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    subject = checks[0].kind.find(_spec(name, overrides) if overrides else name)
    console = stderr()
    bar = track(
        results(subject, exceptions, checks),
        f"Checking {escape(subject.who)}",
        total=len(checks),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    ended = []
    try:
        for result in bar:
            ended.append(result)  # noqa: PERF402 - what ended before an interrupt is needed
    except KeyboardInterrupt:
        console.print(f"Interrupted in the check {checks[len(ended)].name} of {subject.who}.")
        raise
    return Report(subject.who, tuple(ended), checks)


def _declared(exceptions: Sequence[str]) -> dict[str, str]:
    declared = {}
    for each in exceptions:
        check, sign, reason = each.partition("=")
        if not sign:
            raise click.BadParameter(f"An exception is CHECK=REASON, found {each!r}.")
        declared[check.strip()] = reason
    return declared


def _spec(name: str, overrides: Sequence[str]) -> LossSpec:
    """Return the spec of a loss with the parameters of `--set`."""
    from detloss.config import load_config
    from detloss.loss import ENVELOPE

    for override in overrides:
        key, sign, _ = override.partition("=")
        if not sign:
            raise click.BadParameter(f"A parameter is KEY=VALUE, found {override!r}.")
        if key.strip() in ENVELOPE:
            raise click.BadParameter(
                f"{key.strip()!r} is not a parameter of a loss: it belongs to the spec around it. No check uses it."
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


def _print_checks(checks: tuple[Check, ...]) -> None:
    from detloss.cli.output import new_table, plain, stdout

    table = new_table("check", "what it proves", whole=True)
    for check in checks:
        table.add_row(check.name, plain(check.proves))
    stdout().print(table, f"\n{len(checks)} checks", sep="\n")


def _print(report: Report) -> None:
    from rich.text import Text

    from detloss.cli.output import new_table, plain, stdout

    out = stdout()
    table = new_table("check", "outcome", "what it proves, or what is wrong", whole=True)
    for result in report.results:
        word, style = _OUTCOMES[result.outcome]
        said = plain(result.message or result.check.proves)
        table.add_row(result.check.name, Text(word, style), Text(said, style if result.outcome == "failed" else ""))
    out.print(report.who, style="bold")
    out.print(table)
    out.print(f"\n{report.summary}", style="bold" if report.passed else "bold red")
    if failed := [result.check.name for result in report.results if result.outcome == "failed"]:
        out.print(f"Failed: {', '.join(failed)}", style="bold red")


_OUTCOMES = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "red"),
    "excepted": ("excepted", "yellow"),
    "not_applicable": ("n/a", "dim"),
}
