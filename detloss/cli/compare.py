"""`detloss compare`: which loss, on this data, and how sure."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detloss.cli import INTERRUPTED
from detloss.cli.extras import needs
from detloss.cli.options import Overrides
from detloss.errors import DetlossError

if TYPE_CHECKING:
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
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: try failed runs again, which else count as failed.")
    ] = False,
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print compare.json, or with --dry-run the plan as JSON, nothing else.")
    ] = False,
) -> None:
    """Compare losses on your data: the same seeds, the same images, and how sure the answer is.

    Trains every loss with several seeds, and says which one is better, by how much, and what more runs or more images
    would settle. Without a config it compares smooth_l1, giou and ciou on synthetic images in nine minutes on 2 cores.
    """
    if print_default:
        with needs("compare", "Comparing losses"):
            from detloss.compare.plan import default_comparison  # noqa: PLC0415 - help needs none of it
        print(default_comparison(), end="")
        return
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
            from detloss.compare import comparing  # noqa: PLC0415 - as above
        from detloss.cli import comparison  # noqa: PLC0415 - as above

        planned = None
        if what and (len(what) > 1 or what[0].is_dir()):
            compared = comparing.compare_runs(
                _run_folders(what), output=output, reference=reference, split=split, margin=margin
            )
            _check(wanted, [arm.label for arm in compared.comparison.arms], compared.comparison.question.reference)
        else:
            planned = comparing.planned(
                what[0] if what else None,
                output=output,
                resume=resume,
                overrides=tuple(overrides or ()),
                seeds=3 if quick else seeds,
                losses=losses,
                jobs=jobs,
                head=head,
                reference=reference,
                split=split,
                margin=margin,
                budget=budget,
                engine=engine,
                race=race,
                sweep=sweep,
            )
            _check(wanted, [arm.label for arm in planned.arms], planned.reference.label)
            if not dry_run and planned.config.engine.name != "print":
                _train(planned, retry_failed=retry_failed)
                compared, planned = comparing.analyzed(planned), None
    if planned is not None:
        if dry_run:
            comparison.print_plan(planned, as_json=as_json)
        else:
            comparison.print_commands(planned)
        return
    unmet = [condition for condition in wanted if not _holds(compared.comparison, *condition)]
    if as_json:
        print((compared.folder / "compare.json").read_text(encoding="utf-8"), end="")
    else:
        comparison.print_answer(compared)
    if unmet:
        from detloss.cli.output import stderr  # noqa: PLC0415 - `--json` has no use for rich

        stderr().print("\n".join(f"Not met: {better}{sign}{worse}" for better, sign, worse in unmet))
        raise typer.Exit(_UNMET)


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


def _train(plan: Plan, *, retry_failed: bool) -> None:
    """Do the runs that are not done."""
    from detloss.cli.output import stderr  # noqa: PLC0415 - as in `command`
    from detloss.cli.running import shown  # noqa: PLC0415
    from detloss.compare.driver import ComparisonInterrupted, run_plan, way_on  # noqa: PLC0415

    stderr().print(f"{len(plan.runs)} runs in {plan.folder}", soft_wrap=True)
    try:
        with shown() as show:
            ended = run_plan(plan, show=show, retry_failed=retry_failed)
    except ComparisonInterrupted:
        # To be copied, it is left to the terminal to wrap.
        stderr().print(f"Interrupted. Continue with:\n  {way_on(plan.folder)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if ended == "budget":
        stderr().print(f"The budget is spent. Continue with:\n  {way_on(plan.folder)}", soft_wrap=True)


def _check(wanted: tuple[tuple[str, str, str], ...], labels: list[str], reference: str) -> None:
    """Refuse conditions that are not about an arm and the reference, before anything is trained.

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
    """Whether ``better>worse`` is known, or with ``>=`` that it is not worse by more than the margin."""
    difference = next(each for each in comparison.differences if each.arm in (better, worse))
    if difference.verdict == "identical":
        return sign == ">="
    if difference.full is None:
        return False
    least = difference.full.low if difference.arm == better else -difference.full.high
    return least > 0 if sign == ">" else least >= -comparison.question.margin
