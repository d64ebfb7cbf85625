"""Comparisons, one for each thing that a report must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from made_comparison import EFFECTS, changed, example

from detloss.compare.result import Comparison, Difference, Look, Noise, RunResult


def with_failures() -> Comparison:
    """One run became NaN; of another loss none finished."""
    comparison = example(failed={"giou": 3})
    lost = tuple(
        RunResult(seed=seed, state="failed", reason="The loss became NaN in step 12.", folder=f"runs/siou/seed-{seed}")
        for seed in range(5)
    )
    arm = comparison.arms[0].model_copy(
        update={
            "label": "siou",
            "runs": lost,
            "mean": None,
            "may_be_best": False,
            "probability_best": None,
            "expected_loss": None,
        }
    )
    unknown = Difference(
        arm="siou",
        estimate=None,
        by_seed={},
        training=None,
        images=None,
        full=None,
        degrees_of_freedom=None,
        image_share=None,
        verdict="not decided",
    )
    return changed(comparison, arms=(*comparison.arms, arm), differences=(*comparison.differences, unknown))


def without_reference() -> Comparison:
    """No run of the reference finished, so that nothing can be compared."""
    comparison = with_failures()
    lost, reference = comparison.arms[-1], comparison.arms[0].label
    unknown = [comparison.differences[-1].model_copy(update={"arm": arm.label}) for arm in comparison.arms[1:-1]]
    reference_lost = lost.model_copy(update={"label": reference})
    return changed(comparison, arms=(reference_lost, *comparison.arms[1:-1]), differences=tuple(unknown))


def nothing_finished() -> Comparison:
    """Every run failed."""
    comparison = with_failures()
    lost, unknown = comparison.arms[-1], comparison.differences[-1]
    labels = [arm.label for arm in comparison.arms]
    return changed(
        comparison,
        arms=tuple(lost.model_copy(update={"label": label}) for label in labels),
        differences=tuple(unknown.model_copy(update={"arm": label}) for label in labels[1:]),
        noise=Noise(seed_sd=None, seed_correlation=None, runs_saved=None, image_sd=None),
    )


def with_dropped() -> Comparison:
    """The race dropped an arm after two seeds."""
    return example({**EFFECTS, "l1": -0.08}, dropped={"l1": 2})


def interrupted() -> Comparison:
    """Some runs are not done yet."""
    comparison = example()
    arms = [
        arm.model_copy(
            update={
                "runs": tuple(
                    RunResult(seed=run.seed, state="missing", folder=run.folder) if run.seed > last else run
                    for run in arm.runs
                )
            }
        )
        for arm, last in zip(comparison.arms, (3, 3, 2), strict=True)
    ]
    return changed(comparison, arms=tuple(arms))


def one_run_each() -> Comparison:
    """One run of each arm: nothing is known about another training."""
    return example(
        seeds=1,
        noise=Noise(seed_sd=None, seed_correlation=None, runs_saved=None, image_sd=0.004),
    )


def unequal() -> Comparison:
    """One arm varies far more than the others."""
    return example(noise=Noise(seed_sd=0.011, seed_correlation=0.0, runs_saved=-1.2, image_sd=0.004, unequal=True))


def identical() -> Comparison:
    """Two arms gave the very same numbers at each seed."""
    comparison = example({"smooth_l1": 0.0, "l1 twin": 0.0})
    reference, twin = comparison.arms
    twin = twin.model_copy(update={"runs": reference.runs, "mean": reference.mean})
    same = Difference(
        arm="l1 twin",
        estimate=0.0,
        by_seed=dict.fromkeys(range(5), 0.0),
        training=None,
        images=None,
        full=None,
        degrees_of_freedom=None,
        image_share=None,
        verdict="identical",
    )
    return changed(comparison, arms=(reference, twin), differences=(same,))


def selection() -> Comparison:
    """Judged on validation data, without a test split, at the second of two looks."""
    comparison = example(selection=True, looks=(Look(seeds=3, arms=3, alpha=0.022), Look(seeds=5, arms=3, alpha=0.028)))
    question = comparison.question.model_copy(update={"split": "val", "alpha_spent": 0.028})
    return changed(comparison, question=question)


def many() -> Comparison:
    """Ten arms and eighty classes; one arm learned nothing."""
    losses = ("giou", "diou", "ciou", "eiou", "siou", "mpdiou:12", "wiou", "l1", "collapsed")
    effects = {"smooth_l1": 0.0} | {loss: 0.022 - 0.005 * number for number, loss in enumerate(losses)}
    effects["collapsed"] = -0.6
    return example(effects, classes={f"class {number}": 5 + 37 * number for number in range(80)}, images=5000)


def alike() -> Comparison:
    """Ten arms of which any may be the best."""
    return example({f"loss {number}": 0.0 for number in range(10)})


def hostile() -> Comparison:
    """Labels, classes and reasons that are markup, mathematics or far too long."""
    evil = "<script>alert('x')</script>"
    label = "$\\frac{1}{0}$ &amp; " + "long " * 20 + evil
    return example(
        {"smooth_l1": 0.0, label: 0.01, "\N{PARTY POPPER} \u202eoleh\u202c": 0.02},
        classes={evil: 3, "'\"><img src=http://example.org/x.png>": 9},
        failed={label: 2},
        verdict=(f"{evil} won.", "</h1><style>*{display:none}</style>"),
        command=f"detloss compare '{evil}'",
        provenance={evil: [evil, {"a": evil}]},
    )


CASES: Mapping[str, Callable[[], Comparison]] = {
    "example": example,
    "failures": with_failures,
    "no reference": without_reference,
    "nothing finished": nothing_finished,
    "dropped": with_dropped,
    "interrupted": interrupted,
    "one run each": one_run_each,
    "unequal": unequal,
    "identical": identical,
    "selection": selection,
    "many": many,
    "alike": alike,
    "hostile": hostile,
}
