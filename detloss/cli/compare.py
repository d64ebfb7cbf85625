"""`detloss compare`: which loss, on this data, and how sure."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detloss.cli import INTERRUPTED
from detloss.cli.extras import needs
from detloss.cli.options import Overrides
from detloss.errors import DetlossError

if TYPE_CHECKING:
    from detloss.compare.comparing import Compared
    from detloss.compare.plan import Plan
    from detloss.compare.result import Comparison

_UNMET = 3
"""Exit code where --fail-unless does not hold."""


def command(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A config: of a training, or compare.yaml. Or folders of runs that exist. Left out: synthetic images.",
            metavar="CONFIG | RUN RUN...",
            show_default=False,
        ),
    ] = None,
    *,
    losses: Annotated[
        str | None,
        typer.Option(
            "--losses",
            "-l",
            metavar="LOSS,LOSS,...",
            help="name[:weight], or name@equal: the weight at which it pulls as hard as torchvision's own loss. The "
            "first one is the reference. With --resume: +name adds one.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", "-s", min=1, metavar="N", help="Runs of each loss; 5 by default.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="3 seeds.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="Runs at the same time; by default one a core or GPU.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; by default runs/compare-<time>.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume", metavar="DIR", help="Go on with a comparison, or add --seeds or --losses.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    head: Annotated[str | None, typer.Option("--head", help="Head whose loss is compared.", show_default=False)] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="LOSS", help="What the others are compared with.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["val", "test"] | None,
        typer.Option("--split", help="Images that decide; by default test, where the data has it.", show_default=False),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", min=0, metavar="AP", help="Differences up to this one do not matter; 0.005.", show_default=False
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="2h", help="Start no further seed after this time.", show_default=False),
    ] = None,
    engine: Annotated[
        Literal["local", "slurm", "ray", "print"] | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Where the runs run: local (the default), slurm, ray, or print for their commands.",
            show_default=False,
        ),
    ] = None,
    race: Annotated[
        bool | None,
        typer.Option("--race/--no-race", help="Drop a loss that is surely behind after 2 seeds.", show_default=False),
    ] = None,
    sweep: Annotated[
        bool | None,
        typer.Option("--sweep", help="Each loss at half, one and two times its equal weight.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, time, disk and what could be seen; train nothing.")
    ] = False,
    fail_unless: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-unless",
            metavar="'A>B'",
            help="Exit with 3 unless A is better than B; A>=B: unless it is not worse by the margin. Repeatable.",
            show_default=False,
        ),
    ] = None,
    print_default: Annotated[
        bool, typer.Option("--print-default", help="Print the comparison that is made without a config, and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print compare.json, nothing else.")] = False,
) -> None:
    """Compare losses on your data: the same seeds, the same images, and how sure the answer is.

    Trains every loss with several seeds, and says which one is better, by how much, and what more runs or more images
    would settle. Without a config it compares smooth_l1, giou and ciou on synthetic images in about ten minutes.
    """
    options = {
        "head": head, "reference": reference, "split": split, "margin": margin, "budget": budget, "engine": engine,
        "race": race, "sweep": sweep, "jobs": jobs,
    }  # fmt: skip
    wanted = tuple(_parsed(text) for text in fail_unless or ())
    if quick and seeds is not None:
        raise typer.BadParameter("it means --seeds 3; give one of the two.", param_hint="--quick")
    if resume is not None and (what or output is not None or overrides):
        raise typer.BadParameter(
            "a comparison that goes on keeps its config and its folder; give it without CONFIG, --output and --set.",
            param_hint="--resume",
        )
    # What libraries print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        with needs("compare", "Comparing losses"):
            from detloss.compare import comparing, plan  # noqa: PLC0415 - help needs none of it
        if print_default:
            print(plan.default_comparison(), end="")
            return
        if what and (len(what) > 1 or what[0].is_dir()):
            question = {"reference": reference, "split": split, "margin": margin}
            compared = comparing.compare_runs(_run_folders(what), output=output, **_given(question))
        else:
            planned = comparing.planned(
                what[0] if what else None,
                output=output,
                resume=resume,
                overrides=tuple(overrides or ()),
                **_given({"seeds": 3 if quick else seeds, "losses": losses, **options}),
            )
            if dry_run or planned.config.engine.name == "print":
                (_print_plan if dry_run else _print_commands)(planned)
                return
            _train(planned)
            compared = comparing.analyzed(planned)
    unmet = [condition for condition in wanted if not _holds(compared.comparison, *condition)]
    if as_json:
        print((compared.folder / "compare.json").read_text(encoding="utf-8"), end="")
    else:
        _print(compared)
    if unmet:
        from detloss.cli.output import stderr  # noqa: PLC0415 - `--json` has no use for rich

        stderr().print("\n".join(f"Not met: {better}{sign}{worse}" for better, sign, worse in unmet))
        raise typer.Exit(_UNMET)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _parsed(condition: str) -> tuple[str, str, str]:
    """Arms and sign of ``A>B`` or ``A>=B``."""
    found = re.fullmatch(r"\s*(.+?)\s*(>=?)\s*(.+?)\s*", condition)
    if not found:
        raise typer.BadParameter(f"{condition!r} is not A>B or A>=B, with labels of arms.", param_hint="--fail-unless")
    return found[1], found[2], found[3]


def _run_folders(paths: list[Path]) -> list[Path]:
    if len(paths) == 1 and (paths[0] / "compare.yaml").exists():
        message = f"{paths[0]} is a comparison. Give it to --resume."
    elif len(paths) == 1:
        message = f"{paths[0]} is one run. Give at least two, of different losses."
    elif files := [path for path in paths if path.is_file()]:
        message = f"{files[0]} is a file. Give one config, or folders of runs."
    else:
        return paths
    raise typer.BadParameter(message, param_hint="CONFIG | RUN RUN...")


def _train(plan: Plan) -> None:
    """Do the runs that are not done."""
    from detloss.cli.output import stderr  # noqa: PLC0415 - as in `command`
    from detloss.cli.running import shown  # noqa: PLC0415
    from detloss.compare.driver import ComparisonInterrupted, run_plan, way_on  # noqa: PLC0415

    stderr().print(f"{len(plan.runs)} runs in {plan.folder}", soft_wrap=True)
    try:
        with shown() as show:
            ended = run_plan(plan, show=show)
    except ComparisonInterrupted:
        # To be copied, it is left to the terminal to wrap.
        stderr().print(f"Interrupted. Continue with:\n  {way_on(plan.folder)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if ended == "budget":
        stderr().print(f"The budget is spent. Continue with:\n  {way_on(plan.folder)}", soft_wrap=True)


def _print_commands(plan: Plan) -> None:
    """Print the commands of the runs that are not done, one a line."""
    from detloss.cli.output import stderr  # noqa: PLC0415 - as in `command`
    from detloss.compare.driver import commands, way_on  # noqa: PLC0415

    for each in commands(plan):
        print(shlex.join(each))
    stderr().print(f"When they are done:\n  {way_on(plan.folder)} --engine local", soft_wrap=True)


def _print_plan(plan: Plan) -> None:
    """Print what a comparison takes and what it can tell."""
    from detloss.cli.output import new_table, stdout  # noqa: PLC0415 - as in `command`
    from detloss.compare.estimate import estimate  # noqa: PLC0415
    from detloss.compare.statistics import expect, look_level  # noqa: PLC0415
    from detloss.compare.statistics.forecast import SEED_SD  # noqa: PLC0415
    from detloss.training.progress import duration  # noqa: PLC0415

    takes = estimate(plan)
    seeds = plan.config.all_seeds
    size = len(seeds), len(plan.arms)
    sees = expect(len(plan.arms), len(seeds), takes.images, alpha=look_level([size]))
    table = new_table("loss")
    for name in ("weight", "gradient to stock"):
        table.add_column(name, justify="right")
    for arm in plan.arms:
        numbers = (arm.weight, arm.gradient_ratio)
        table.add_row(arm.label, *("" if number is None else f"{number:.3g}" for number in numbers))
    out = stdout()
    out.print(table)
    out.print(
        f"\n{takes.runs} runs: {len(plan.arms)} losses in {plan.config.head}, {len(seeds)} seeds, judged on "
        f"{takes.images:,} images ({plan.split}).\n"
        f"Time: about {duration(takes.seconds)}, {duration(takes.seconds_a_run)} a run, {plan.jobs or 'all'} at a time "
        f"({takes.seconds_a_step:.3f} s a step).\n"
        f"Disk: about {takes.disk_bytes / 2**20:,.0f} MiB of checkpoints."
    )
    if sees:
        out.print(
            f"Intervals: about ±{sees.half_width:.3f} AP. You will hardly see differences smaller than "
            f"{sees.detectable:.3f} AP.\nThat assumes that two trainings of one loss differ by a standard deviation of "
            f"{SEED_SD} AP, as is usual."
        )
    else:
        out.print("One seed says nothing about training again. Fix: --seeds 3 or more.")


def _holds(comparison: Comparison, better: str, sign: str, worse: str) -> bool:
    """Whether ``better>worse`` is known, or with ``>=`` that it is not worse by more than the margin.

    Raises:
        DetlossError: it is not about an arm and the reference.
    """
    reference = comparison.question.reference
    labels = [arm.label for arm in comparison.arms]
    for label in (better, worse):
        if label not in labels:
            raise DetlossError(f"--fail-unless: no loss is called {label!r}. Fix: name one of {', '.join(labels)}.")
    if reference not in (better, worse) or better == worse:
        raise DetlossError(
            f"--fail-unless: {better}{sign}{worse} does not hold the reference, {reference}. Fix: add --reference "
            f"{shlex.quote(worse)}."
        )
    difference = next(each for each in comparison.differences if each.arm in (better, worse))
    if difference.verdict == "identical":
        return sign == ">="
    if difference.full is None:
        return False
    least = difference.full.low if difference.arm == better else -difference.full.high
    return least > 0 if sign == ">" else least >= -comparison.question.margin


def _print(compared: Compared) -> None:
    from detloss.cli.output import ap, new_table, stdout  # noqa: PLC0415 - `--json` has no use for rich

    comparison, out = compared.comparison, stdout()
    question = comparison.question
    differences = {each.arm: each for each in comparison.differences}
    table = new_table("loss")
    for name in ("weight", "runs", question.metric, f"to {question.reference}", "from", "to", "P(best)", "may be best"):
        table.add_column(name, justify="right")
    for arm in comparison.arms:
        one = differences.get(arm.label)
        finished = sum(run.state == "finished" for run in arm.runs)
        interval = (one.full or one.images) if one else None
        table.add_row(
            arm.label,
            "" if arm.weight is None else f"{arm.weight:.3g}",
            f"{finished}/{len(arm.runs)}",
            "" if arm.mean is None else ap(arm.mean),
            _signed(one.estimate if one else None),
            _signed(interval.low if interval else None),
            _signed(interval.high if interval else None),
            "" if arm.probability_best is None else f"{arm.probability_best:.2f}",
            "yes" if arm.may_be_best else "no",
        )
    for sentence in comparison.verdict:
        out.print(sentence)
    out.print()
    out.print(table)
    out.print(f"\nThe report: {compared.folder / 'report.html'}", soft_wrap=True)
    if (compared.folder / "compare.yaml").exists():
        out.print(
            f"More seeds or losses:\n  detloss compare --resume {shlex.quote(str(compared.folder))} --seeds "
            f"{len(question.seeds) + 3}",
            soft_wrap=True,
        )


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
