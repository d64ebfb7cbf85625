"""`detloss compare`: which loss, on this data, and how sure."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import Command, Result, needs
from detloss.cli.options import PATH, overrides, print_default
from detloss.errors import DetlossError
from detloss.text import counted

if TYPE_CHECKING:
    from detloss.compare.plan import Plan
    from detloss.compare.result import Comparison


def _default() -> str:
    with needs("compare", "Comparing losses"):
        from detloss.compare.plan import default_comparison
    return default_comparison()


@click.command("compare", cls=Command, json="Print compare.json, or with --dry-run the plan as JSON, nothing else.")
@click.argument(
    "what",
    type=PATH,
    nargs=-1,
    metavar="[CONFIG | RUN RUN...]",
    help="A config of a training, or compare.yaml, or folders of finished runs. Without it: synthetic images.",
)
@click.option(
    "--losses",
    "-l",
    metavar="LOSS,LOSS,...",
    help="name[:weight], or name@equal: the weight at which it pulls as hard as torchvision's own loss. The first one "
    "is the reference. With --resume: +name adds one.",
)
@click.option("--seeds", "-s", type=click.IntRange(min=1), metavar="N", help="Runs of each loss; 5 by default.")
@click.option("--quick", is_flag=True, help="3 seeds.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs at the same time; by default one a core or GPU.",
)
@click.option("--output", "-o", type=PATH, help="Folder; by default runs/compare-<time>.")
@click.option("--resume", type=PATH, metavar="DIR", help="Resume a comparison, or add --seeds or --losses.")
@overrides
@click.option("--head", help="Head whose loss is compared.")
@click.option("--reference", metavar="LOSS", help="What the others are compared with.")
@click.option(
    "--split", type=click.Choice(["val", "test"]), help="Images that decide; by default test, where the data has it."
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    metavar="AP",
    help="Differences up to this one do not matter; 0.005 by default.",
)
@click.option("--budget", metavar="2h", help="Start no further seed after this time.")
@click.option(
    "--engine",
    type=click.Choice(["local", "slurm", "ray", "print"]),
    metavar="NAME",
    help="Where the runs run: local (the default), slurm, ray, or print for their commands.",
)
@click.option("--race/--no-race", default=None, help="Drop a loss that is surely behind after 2 seeds.")
@click.option("--sweep", is_flag=True, default=None, help="Each loss at half, one and two times its equal weight.")
@click.option("--retry-failed", is_flag=True, help="With --resume: try failed runs again; without it they stay failed.")
@click.option(
    "--dry-run", is_flag=True, help="Print runs, time, disk and the smallest difference to see; train nothing."
)
@click.option(
    "--fail-unless",
    multiple=True,
    metavar="'A>B'",
    help="Exit with 3 unless A is better than B; A>=B: unless it is not worse by the margin. Repeatable.",
)
@print_default("comparison", _default)
def command(
    what: tuple[Path, ...],
    *,
    output: Path | None,
    resume: Path | None,
    overrides: tuple[str, ...],
    seeds: int | None,
    quick: bool,
    retry_failed: bool,
    dry_run: bool,
    fail_unless: tuple[str, ...],
    **asked: Any,
) -> Result:
    """Compare losses on your data, and say how sure the answer is.

    Trains every loss with the same seeds on the same images. Says which one is better, by how much, and what more runs
    or more images would settle. Without a config it compares smooth_l1, giou and ciou on synthetic images, in nine
    minutes on 2 cores.
    """
    wanted = tuple(_parsed(text) for text in fail_unless)
    if quick and seeds is not None:
        raise click.BadParameter("it means --seeds 3; give one of the two.", param_hint="--quick")
    if resume is not None and (what or output is not None or overrides):
        raise click.BadParameter(
            "a resumed comparison keeps its config and folder. Fix: remove CONFIG, --output and --set.",
            param_hint="--resume",
        )
    with needs("compare", "Comparing losses"):
        from detloss.compare import comparing
    from detloss.cli import comparison

    if len(what) > 1 or (what and what[0].is_dir()):
        own = {key: asked[key] for key in ("reference", "split", "margin")}
        compared = comparing.compare_runs(_run_folders(what), output=output, **own)
        _check(wanted, [arm.label for arm in compared.comparison.arms], compared.comparison.question.reference)
    else:
        config = what[0] if what else None
        seeds = 3 if quick else seeds
        plan = comparing.planned(config, output=output, resume=resume, overrides=overrides, seeds=seeds, **asked)
        _check(wanted, [arm.label for arm in plan.arms], plan.reference.label)
        if dry_run:
            return comparison.plan_result(plan)
        if plan.config.engine.name != "print":
            _train(plan, retry_failed=retry_failed)
        elif left := comparison.commands_result(plan):
            return left
        compared = comparing.analyzed(plan)
    return comparison.answer(
        compared, [condition for condition in wanted if not _holds(compared.comparison, *condition)]
    )


def _parsed(condition: str) -> tuple[str, str, str]:
    """Arms and sign of ``A>B`` or ``A>=B``."""
    found = re.fullmatch(r"\s*(.+?)\s*(>=?)\s*(.+?)\s*", condition)
    if not found:
        raise click.BadParameter(f"{condition!r} is not A>B or A>=B, with labels of arms.", param_hint="--fail-unless")
    return found[1], found[2], found[3]


def _run_folders(paths: tuple[Path, ...]) -> list[Path]:
    if len(paths) == 1 and (paths[0] / "compare.yaml").exists():
        message = f"{paths[0]} is a comparison. Give it to --resume."
    elif len(paths) == 1:
        message = f"{paths[0]} is one run. Give at least two, of different losses."
    elif files := [path for path in paths if path.is_file()]:
        message = f"{files[0]} is a file. Give one config, or folders of runs."
    else:
        return list(paths)
    raise click.BadParameter(message, param_hint="CONFIG | RUN RUN...")


def _train(plan: Plan, *, retry_failed: bool) -> None:
    """Do the runs that are not done."""
    from detloss.cli.output import stderr
    from detloss.cli.running import shown
    from detloss.compare.driver import ComparisonInterrupted, run_plan, way_on

    stderr().print(f"{counted(len(plan.runs), 'run')} in {plan.folder}", soft_wrap=True)
    try:
        with shown() as show:
            ended = run_plan(plan, show=show, retry_failed=retry_failed)
    except ComparisonInterrupted:
        # To be copied, it is left to the terminal to wrap.
        stderr().print(f"Interrupted. Continue with:\n  {way_on(plan.folder)}", soft_wrap=True)
        raise click.Abort from None
    if ended == "budget":
        stderr().print(f"The budget is spent. Continue with:\n  {way_on(plan.folder)}", soft_wrap=True)


def _check(wanted: tuple[tuple[str, str, str], ...], labels: list[str], reference: str) -> None:
    """Refuse conditions that are not about an arm and the reference.

    Raises:
        DetlossError: names the condition.
    """
    for better, sign, worse in wanted:
        for label in (better, worse):
            if label not in labels:
                raise DetlossError(f"--fail-unless: no loss is called {label!r}. Fix: name one of {', '.join(labels)}.")
        if reference not in (better, worse) or better == worse:
            raise DetlossError(
                f"--fail-unless: {better}{sign}{worse} is not about the reference, {reference}. Fix: add --reference "
                f"{shlex.quote(worse)}."
            )


def _holds(comparison: Comparison, better: str, sign: str, worse: str) -> bool:
    """Whether ``better>worse`` is known.

    With ``>=``: whether it is known that it is not worse by more than the margin.
    """
    difference = next(each for each in comparison.differences if each.arm in (better, worse))
    if difference.verdict == "identical":
        return sign == ">="
    if difference.full is None:
        return False
    least = difference.full.low if difference.arm == better else -difference.full.high
    return least > 0 if sign == ">" else least >= -comparison.question.margin
