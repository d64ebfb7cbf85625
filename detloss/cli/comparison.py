"""What `detloss compare` prints: the plan and the answer."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict

from detloss.cli.command import UNMET, Result
from detloss.cli.output import ap, new_table, stderr, stdout
from detloss.compare.comparing import Compared
from detloss.compare.driver import commands, way_on
from detloss.compare.driver.estimate import Estimate, estimate
from detloss.compare.plan import Plan
from detloss.compare.statistics import Expected, expect, look_level
from detloss.compare.statistics.forecast import SEED_SD
from detloss.text import counted
from detloss.training.progress import duration


def plan_result(plan: Plan) -> Result:
    """Return what a comparison takes and what it can tell."""
    takes = estimate(plan)
    seeds = plan.config.all_seeds
    size = len(seeds), len(plan.arms)
    sees = expect(len(plan.arms), len(seeds), takes.images, alpha=look_level([size]))
    arms = [{"label": arm.label, "weight": arm.weight, "gradient_ratio": arm.gradient_ratio} for arm in plan.arms]
    data = {"arms": arms, "seeds": seeds, **asdict(takes), **(asdict(sees) if sees else {})}
    return Result(data, lambda: _print_plan(plan, takes, sees))


def commands_result(plan: Plan) -> Result | None:
    """Return the commands of runs that are not done, if any."""
    lines = [shlex.join(each) for each in commands(plan)]
    if not lines:
        return None
    stderr().print(f"When they are done:\n  {way_on(plan.folder)}", soft_wrap=True)
    return Result(lines, lambda: print(*lines, sep="\n"))


def answer(compared: Compared, unmet: Sequence[tuple[str, str, str]]) -> Result:
    """Return what was found, with the exit code for unmet conditions."""
    if unmet:
        stderr().print("\n".join(f"Not met: {better}{sign}{worse}" for better, sign, worse in unmet))
    data = (compared.folder / "compare.json").read_text(encoding="utf-8")
    return Result(data, lambda: _print_answer(compared), UNMET if unmet else 0)


def _print_plan(plan: Plan, takes: Estimate, sees: Expected | None) -> None:
    seeds = plan.config.all_seeds
    table = new_table("loss", numbers=("weight", "gradient to stock"))
    for arm in plan.arms:
        numbers = (arm.weight, arm.gradient_ratio)
        table.add_row(arm.label, *("" if number is None else f"{number:.3g}" for number in numbers))
    out = stdout()
    out.print(table)
    out.print(
        f"\n{counted(takes.runs, 'run')}: {counted(len(plan.arms), 'loss')} in {plan.config.head}, "
        f"{counted(len(seeds), 'seed')}, judged on {counted(takes.images, 'image')} ({plan.split}).\n"
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


def _print_answer(compared: Compared) -> None:
    comparison, out = compared.comparison, stdout()
    question = comparison.question
    differences = {each.arm: each for each in comparison.differences}
    numbers = ("weight", "runs", question.metric, "difference", "from", "to", "P(best)", "best?")
    table = new_table("loss", numbers=numbers, whole=True)
    for arm in comparison.arms:
        one = differences.get(arm.label)
        interval = one.decides if one else None
        table.add_row(
            arm.label,
            "" if arm.weight is None else f"{arm.weight:.3g}",
            f"{len(arm.finished)}/{len(arm.runs)}",
            "" if arm.mean is None else ap(arm.mean),
            _signed(one.estimate if one else None),
            _signed(interval.low if interval else None),
            _signed(interval.high if interval else None),
            "" if arm.probability_best is None else f"{arm.probability_best:.2f}",
            "maybe" if arm.may_be_best else "no",
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
