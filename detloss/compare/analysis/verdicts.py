"""The verdict in sentences: first the answer, then its certainty and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from detloss.compare.result import ArmResult, Comparison, Difference, Interval
from detloss.compare.statistics.forecast import MAX_MORE_SEEDS, MAX_TIMES_IMAGES

FEW_SEEDS = 8
"""With fewer, a correlation of seeds is little more than a guess: 0.87 of 3 seeds became 0.19 of 7."""

WEAK_CORRELATION = 0.25
"""Correlation below which runs of one seed are hardly more alike than others."""

LITTLE = 0.05
"""Share of the variance that is not worth a number."""

MOST_NAMES = 4
"""Names in one sentence."""


def sentences(comparison: Comparison) -> tuple[str, ...]:
    """Say what is known; reads everything but `comparison.verdict`."""
    return (
        _answer(comparison),
        *_leader(comparison),
        *_best(comparison),
        *_lost(comparison.arms),
        *_selection(comparison),
        *_looks(comparison),
        *_noise(comparison),
    )


def _answer(comparison: Comparison) -> str:
    question = comparison.question
    known = [each for each in comparison.differences if each.estimate is not None]
    if not any(arm.finished for arm in comparison.arms if arm.label == question.reference):
        return f"Not decided: no run of the reference {question.reference} finished."
    if not known:
        return f"Not decided: no run of a loss other than {question.reference} finished."
    repeated = [each for each in known if each.full or each.verdict == "identical"]
    if not repeated:
        return _never_repeated(comparison)
    better = sorted((each for each in repeated if each.verdict == "better"), key=_estimate, reverse=True)
    if better:
        return _better(better, comparison)
    undecided = [each for each in repeated if each.verdict == "not decided"]
    if undecided and _best_labels(comparison) != [question.reference]:
        return _undecided(max(undecided, key=_estimate), comparison)
    return _none_better(repeated, comparison)


def _never_repeated(comparison: Comparison) -> str:
    runs = max(len(arm.finished) for arm in comparison.arms)
    if runs > 1:
        return (
            "Not decided: the runs of each loss are equal for all seeds, so nothing is known about training again. "
            "Check that the seed has an effect."
        )
    return (
        "Not decided: each loss was trained once, and nothing is known about what training it again would give. "
        "Use at least 3 seeds."
    )


def _better(better: Sequence[Difference], comparison: Comparison) -> str:
    question = comparison.question
    names = [each.arm for each in better]
    least = min(each.full.low for each in better if each.full)
    verb, each = ("is", "") if len(better) == 1 else ("are", "each ")
    answer = (
        f"{_words(names)} {verb} better than {question.reference}, {each}by at least {_number(least, sign='')} "
        f"{question.metric} ({_confidence(comparison)})"
    )
    best = _best_labels(comparison)
    if len(comparison.arms) == 2:
        return f"{answer}."
    if len(best) == 1:
        return f"{answer}; {best[0]} is the best of the {len(comparison.arms)} losses."
    among = "them" if set(best) == set(names) else _words(best)
    return f"{answer}; which of {among} is the best is not decided."


def _undecided(leader: Difference, comparison: Comparison) -> str:
    question = comparison.question
    others = "" if len(comparison.differences) == 1 else f"no loss is known to be better than {question.reference}. "
    return (
        f"Not decided: {others}{_gap(leader, comparison)}, and could be {_range(leader.full)} "
        f"({_confidence(comparison)}). {_what_would_decide(leader)}"
    )


def _gap(difference: Difference, comparison: Comparison, weight: str = "") -> str:
    question, estimate = comparison.question, _estimate(difference)
    where = "above" if estimate >= 0 else "below"
    return (
        f"{difference.arm}{weight} was {_number(abs(estimate), sign='')} {question.metric} {where} {question.reference}"
    )


def _what_would_decide(difference: Difference) -> str:
    ways = []
    if difference.more_seeds:
        ways.append(f"{difference.more_seeds} more seed{'s' * (difference.more_seeds > 1)} of each loss")
    if difference.more_images:
        ways.append(f"{difference.more_images:,} more test images")
    if ways:
        return f"About {' or '.join(ways)} would decide it, if the difference stays."
    return (
        f"The difference is too small for the noise: neither {MAX_MORE_SEEDS} more seeds nor {MAX_TIMES_IMAGES} times "
        "the images would decide it."
    )


def _none_better(known: Sequence[Difference], comparison: Comparison) -> str:
    question, metric = comparison.question, comparison.question.metric
    worse = [each for each in known if each.verdict == "worse"]
    equivalent = [each for each in known if each.verdict == "equivalent"]
    identical = [each for each in known if each.verdict == "identical"]
    parts = []
    if len(comparison.arms) > 2 and _best_labels(comparison) == [question.reference]:
        parts.append(f"{question.reference}, the reference, is the best of the {len(comparison.arms)} losses")
    if worse:
        least = min(-each.full.high for each in worse if each.full)
        names = _words([each.arm for each in worse])
        who = "it" if parts else question.reference
        parts.append(f"{who} is better than {names}, by at least {_number(least, sign='')} {metric}")
    if equivalent:
        names = _words([each.arm for each in equivalent])
        verb = "differs" if len(equivalent) == 1 else "differ"
        parts.append(
            f"{names} {verb} from {question.reference} by no more than {question.margin:g} {metric}, which makes no "
            "difference in practice"
        )
    if parts:
        parts[-1] += f" ({_confidence(comparison)})"
    if identical:
        verb = "is" if len(identical) == 1 else "are"
        parts.append(
            f"{_words([each.arm for each in identical])} {verb} identical to {question.reference} in every run: "
            "check that the configs differ in what you compare"
        )
    return "; ".join(parts) + "."


def _leader(comparison: Comparison) -> Iterator[str]:
    """Two or three sentences on the arm with the largest lead."""
    known = [each for each in comparison.differences if each.full]
    if not known:
        yield from (_images_alone(each, comparison) for each in comparison.differences if each.images)
        return
    question = comparison.question
    leader = max(known, key=_estimate)
    arm = next(arm for arm in comparison.arms if arm.label == leader.arm)
    weight = f" (weight {arm.weight:g})" if arm.weight is not None and ":" not in arm.label else ""
    wins = sum(each > 0 for each in leader.by_seed.values())
    yield (
        f"On average {_gap(leader, comparison, weight)}, and it was better in {wins} of {len(leader.by_seed)} seeds."
    )
    together = f", all {len(known)} differences together" if len(known) > 1 else ""
    yield (
        f"If you trained both again and tested on new images like these {question.images:,}, the mean difference would "
        f"lie {_range(leader.full)} ({_percent(1 - question.alpha)} confidence{together}); on these same images, "
        f"{_range(leader.training)}."
    )
    share = leader.image_share or 0.0
    if share < LITTLE:
        yield f"This uncertainty hardly comes from having only {question.images:,} test images: more seeds shrink it."
    else:
        yield (
            f"Of this uncertainty (as a variance) {_percent(share)} comes from having only {question.images:,} test "
            "images, which more seeds will not remove; the rest shrinks with more seeds."
        )


def _images_alone(difference: Difference, comparison: Comparison) -> str:
    return (
        f"{_gap(difference, comparison)}; on new images these same models would differ by a value "
        f"{_range(difference.images)} ({_confidence(comparison)}). Other seeds may turn this around."
    )


def _best(comparison: Comparison) -> Iterator[str]:
    arms = [arm for arm in comparison.arms if arm.probability_best is not None]
    best = [arm.label for arm in arms if arm.may_be_best]
    answered = any(each.verdict == "better" for each in comparison.differences) or best == [
        comparison.question.reference
    ]
    if len(arms) > 2 and not answered:
        yield f"The best loss is {'one of ' * (len(best) > 1)}{_words(best)} ({_confidence(comparison)})."
    if len(best) > 1:
        choice = min(arms, key=lambda arm: arm.expected_loss or 0.0)
        yield (
            f"If you must choose now, take {choice.label}: it is the best with probability "
            f"{_percent(choice.probability_best)}, and on average falls short of the best by "
            f"{_number(choice.expected_loss or 0.0, sign='')} {comparison.question.metric}."
        )


def _lost(arms: Sequence[ArmResult]) -> Iterator[str]:
    """Failed runs, and arms with fewer runs because they were behind."""
    for arm in arms:
        failed = [run for run in arm.runs if run.state == "failed"]
        if failed:
            tried = sum(run.state != "missing" for run in arm.runs)
            reason = f" ({failed[0].reason.strip().rstrip('.')})" if failed[0].reason else ""
            rest = "" if arm.mean is None else "; its mean is that of the other runs"
            yield f"{len(failed)} of {tried} runs of {arm.label} failed{reason}{rest}."
    dropped: dict[int, list[ArmResult]] = {}
    for arm in arms:
        if arm.dropped_after:
            dropped.setdefault(arm.dropped_after, []).append(arm)
    for seeds, behind in dropped.items():
        names = _words([arm.label for arm in behind])
        were, they = ("was", "it") if len(behind) == 1 else ("were", "they")
        yield f"{names} {were} dropped after {seeds} seeds, since {they} {were} far behind the leader."


def _selection(comparison: Comparison) -> Iterator[str]:
    if comparison.selection:
        yield (
            "This is selection, not confirmation: there is no test split, so the images that choose a loss also judge "
            "it. Confirm the choice on other images, with new seeds."
        )


def _looks(comparison: Comparison) -> Iterator[str]:
    looks, question = comparison.looks, comparison.question
    if len(looks) > 1:
        yield (
            f"This is look {len(looks)} at a growing comparison. Each look is a further chance to be misled, so the "
            f"intervals of this one are computed with {_percent(1 - question.alpha_spent)} instead of "
            f"{_percent(1 - question.alpha)}; all looks together then keep {_percent(1 - question.alpha)}."
        )


def _noise(comparison: Comparison) -> Iterator[str]:
    noise = comparison.noise
    if noise.unequal:
        yield "The runs of one loss scatter far more than the others, so each pair has a (wider) interval of its own."
    if noise.seed_sd is None or noise.seed_correlation is None or noise.runs_saved is None:
        return
    runs = abs(noise.runs_saved)
    seeds = len(comparison.question.seeds)
    rough = f", a rough number from {seeds} seeds" if seeds < FEW_SEEDS else ""
    alike = "hardly more" if noise.seed_correlation < WEAK_CORRELATION else "more"
    yield (
        f"Two trainings of one loss differ by a standard deviation of {_number(noise.seed_sd, sign='')} "
        f"{comparison.question.metric}. Runs that share a seed were {alike} alike than others (correlation "
        f"{noise.seed_correlation:.2f}{rough}): sharing seeds {'saved' if noise.runs_saved >= 0 else 'cost'} about "
        f"{runs:.{0 if runs >= 10 else 1}f} runs, against separate seeds for each loss."
    )


def _best_labels(comparison: Comparison) -> list[str]:
    return [arm.label for arm in comparison.arms if arm.may_be_best]


def _estimate(difference: Difference) -> float:
    return difference.estimate or 0.0


def _confidence(comparison: Comparison) -> str:
    return f"{_percent(1 - comparison.question.alpha)} confidence"


def _range(interval: Interval | None) -> str:
    return f"between {_number(interval.low)} and {_number(interval.high)}" if interval else "anything"


def _number(value: float, sign: str = "+") -> str:
    """Three decimals, one digit where those would all be zero."""
    return f"{value:{sign}.3f}" if abs(value) >= 0.0005 or not value else f"{value:{sign}.1g}"


def _percent(share: float | None) -> str:
    """At most one decimal, and 0 or 100 only if exact."""
    percent = 100 * (share or 0.0)
    if percent and (percent < 0.5 or percent > 99.95):
        return "less than 1 %" if percent < 50 else "more than 99.9 %"
    return f"{percent:.1f}".removesuffix(".0") + " %" if percent > 90 else f"{percent:.0f} %"


def _words(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} others"]
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
