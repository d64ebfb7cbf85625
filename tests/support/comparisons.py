"""Comparisons as the analysis gives them, one for each thing that a report must show; their numbers are made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from detloss.compare.result import (
    ArmResult,
    Comparison,
    Difference,
    ImagePair,
    Interval,
    Look,
    Measured,
    Noise,
    Question,
    RunMeasured,
    RunResult,
)
from detloss.compare.verdicts import sentences

EFFECTS = {"smooth_l1": 0.0, "giou": 0.019, "ciou": 0.012}
"""What each loss adds to AP in these examples; the first one is the reference."""
CLASSES = {"platelet": 76, "red blood cell": 819, "white blood cell": 72}
THRESHOLDS = tuple(f"{0.5 + 0.05 * step:.2f}" for step in range(10))
_T = 2.7
"""Critical value of the examples' intervals."""
_EPOCHS = 8
_ALPHA = 0.05


def example(
    effects: Mapping[str, float] = EFFECTS,
    *,
    seeds: int = 5,
    classes: Mapping[str, int] = CLASSES,
    images: int = 72,
    image_sd: float = 0.004,
    failed: Mapping[str, int] | None = None,
    dropped: Mapping[str, int] | None = None,
    pairs: tuple[ImagePair, ...] = (),
    **changes: Any,
) -> Comparison:
    """Return a comparison of losses with these effects.

    Args:
        effects: By label; the first one is the reference.
        seeds: How many.
        classes: Objects of each.
        images: Number of test images.
        image_sd: Standard error of a difference that comes from the images.
        failed: The seed of each arm whose run failed.
        dropped: After how many seeds the race dropped an arm.
        pairs: Images to show.
        **changes: Of the comparison's own fields.
    """
    numbers = np.random.default_rng(7)
    arms = [
        _arm(
            label,
            effect,
            number,
            seeds=seeds,
            classes=classes,
            numbers=numbers,
            failed=(failed or {}).get(label),
            dropped=(dropped or {}).get(label),
        )
        for number, (label, effect) in enumerate(effects.items())
    ]
    reference = arms[0]
    differences = tuple(_difference(arm, reference, image_sd) for arm in arms[1:] if arm.mean is not None)
    best = max((arm for arm in arms if arm.mean is not None), key=lambda arm: arm.mean or 0)
    chances = np.exp([0 if arm.mean is None else 200 * (arm.mean - (best.mean or 0)) for arm in arms])
    chances *= [arm.mean is not None for arm in arms]
    arms = [
        arm.model_copy(
            update={
                "may_be_best": arm.mean is not None and (best.mean or 0) - arm.mean < 0.015,
                "probability_best": None if arm.mean is None else float(chance),
                "expected_loss": None if arm.mean is None else (best.mean or 0) - arm.mean + 0.001,
            }
        )
        for arm, chance in zip(arms, chances / chances.sum(), strict=True)
    ]
    shared = {
        "question": Question(
            metric="AP",
            split="test",
            images=images,
            objects=sum(classes.values()),
            data="blood-cells/test.json",
            model="fasterrcnn_resnet50_fpn_v2",
            head="roi_heads",
            reference=reference.label,
            margin=0.005,
            alpha=_ALPHA,
            alpha_spent=_ALPHA,
            seeds=tuple(range(seeds)),
        ),
        "arms": tuple(arms),
        "differences": differences,
        "class_objects": dict(classes),
        "noise": Noise(seed_sd=0.0081, seed_correlation=0.08, runs_saved=0.6, image_sd=image_sd),
        "looks": (Look(seeds=seeds, arms=len(arms), alpha=_ALPHA),),
        "image_pairs": pairs,
        "selection": False,
        "command": f"detloss compare cells.yaml --losses {','.join(effects)} --seeds {seeds} -o comparison",
        "provenance": {
            "versions": {"detloss": "0.1.0", "torch": "2.15.0", "torchvision": "0.29.0", "hotcoco": "1.3.0"},
            "sha256": {"annotations": "5f0c" * 16, "images": "c41a" * 16},
        },
        "verdict": (),
        "measured": Measured(
            analyzed="2026-11-30T12:00:00+00:00",
            runs=tuple(
                RunMeasured(
                    arm=arm.label, seed=run.seed, seconds=371.0 + 9 * run.seed, seconds_a_step=0.31, memory_mib=2210.0
                )
                for arm in arms
                for run in arm.runs
                if run.state == "finished"
            ),
            devices=("NVIDIA H200",),
        ),
    }
    comparison = Comparison.model_validate(shared | changes)
    return comparison if comparison.verdict else _changed(comparison)


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
    return _changed(comparison, arms=(*comparison.arms, arm), differences=(*comparison.differences, unknown))


def without_reference() -> Comparison:
    """No run of the reference finished, so that nothing can be compared."""
    comparison = with_failures()
    lost, reference = comparison.arms[-1], comparison.arms[0].label
    unknown = [comparison.differences[-1].model_copy(update={"arm": arm.label}) for arm in comparison.arms[1:-1]]
    reference_lost = lost.model_copy(update={"label": reference})
    return _changed(comparison, arms=(reference_lost, *comparison.arms[1:-1]), differences=tuple(unknown))


def nothing_finished() -> Comparison:
    """Every run failed."""
    comparison = with_failures()
    lost, unknown = comparison.arms[-1], comparison.differences[-1]
    labels = [arm.label for arm in comparison.arms]
    return _changed(
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
    return _changed(comparison, arms=tuple(arms))


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
    return _changed(comparison, arms=(reference, twin), differences=(same,))


def selection() -> Comparison:
    """Judged on validation data, without a test split, at the second of two looks."""
    comparison = example(selection=True, looks=(Look(seeds=3, arms=3, alpha=0.022), Look(seeds=5, arms=3, alpha=0.028)))
    question = comparison.question.model_copy(update={"split": "val", "alpha_spent": 0.028})
    return _changed(comparison, question=question)


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


def _changed(comparison: Comparison, **changes: Any) -> Comparison:
    """The same with other values, and with the sentences that follow."""
    changed = comparison.model_copy(update=changes)
    return changed.model_copy(update={"verdict": sentences(changed)})


def _arm(
    label: str,
    effect: float,
    number: int,
    *,
    seeds: int,
    classes: Mapping[str, int],
    numbers: np.random.Generator,
    failed: int | None,
    dropped: int | None,
) -> ArmResult:
    runs = tuple(
        RunResult(seed=seed, state="missing", folder=f"runs/{number}/seed-{seed}")
        if dropped is not None and seed >= dropped
        else RunResult(
            seed=seed,
            state="failed",
            reason="The loss roi_heads/giou became NaN in step 412 of 3000.",
            folder=f"runs/{number}/seed-{seed}",
        )
        if seed == failed
        else _run(seed, effect, number, classes, numbers)
        for seed in range(seeds)
    )
    found = [run.metrics["AP"] for run in runs if run.state == "finished"]
    return ArmResult(
        label=label,
        losses={"roi_heads": {"name": label.partition(":")[0], "weight": 1.0 if not number else 10.0}},
        weight=1.0 if not number else 10.0,
        gradient_ratio=1.0 if not number else 0.84,
        hash=f"{number:08x}",
        runs=runs,
        dropped_after=dropped,
        mean=float(np.mean(found)) if found else None,
        may_be_best=False,
        probability_best=None,
        expected_loss=None,
    )


def _run(seed: int, effect: float, number: int, classes: Mapping[str, int], numbers: np.random.Generator) -> RunResult:
    ap = max(0.004, 0.612 + effect + 0.004 * np.sin(seed) + numbers.normal(0, 0.007))
    # Losses of boxes differ most where boxes must fit best.
    by_iou = {
        key: float(np.clip(ap * (1.45 - 1.9 * step**3) + 0.3 * effect * step, 0, 1))
        for key, step in zip(THRESHOLDS, np.linspace(0, 0.9, 10), strict=True)
    }
    sizes = {"APs": -1.0, "APm": 0.86 * ap, "APl": 1.06 * ap}
    curve = tuple(
        (epoch, float(ap * (1 - np.exp(-0.6 * epoch)) + numbers.normal(0, 0.01 / epoch)))
        for epoch in range(1, _EPOCHS + 1)
    )
    return RunResult(
        seed=seed,
        state="finished",
        folder=f"runs/{number}/seed-{seed}",
        metrics={"AP": float(ap), "AP50": by_iou["0.50"], "AP75": by_iou["0.75"], **sizes, "AR100": 1.1 * float(ap)},
        by_iou=by_iou,
        classes={name: float(np.clip(ap + numbers.normal(0, 0.05), 0, 1)) for name in classes},
        tide={
            key: float(np.clip(part + numbers.normal(0, 0.004) - (effect if key == "Loc" else 0), 0, 1))
            for key, part in {
                "Cls": 0.011,
                "Loc": 0.082,
                "Both": 0.004,
                "Dupe": 0.012,
                "Bkg": 0.041,
                "Miss": 0.063,
            }.items()
        },
        matched_iou=0.83 + effect / 2,
        calibration_error=0.09 + 0.01 * number,
        skipped_steps=number % 2,
        curve=curve,
    )


def _difference(arm: ArmResult, reference: ArmResult, image_sd: float) -> Difference:
    pairs = {
        run.seed: run.metrics["AP"] - other.metrics["AP"]
        for run, other in zip(arm.runs, reference.runs, strict=True)
        if "finished" == run.state == other.state
    }
    values = np.array(list(pairs.values()))
    estimate, images = float(values.mean()), _T * image_sd
    if len(values) == 1:
        training = full = share = None
    else:
        training = _T * 0.009 / np.sqrt(len(values))
        full = float(np.hypot(training, images))
        share = (images / full) ** 2
    verdict = "not decided"
    if full is not None:
        verdict = "better" if estimate > full else "worse" if estimate < -full else verdict
    return Difference(
        arm=arm.label,
        estimate=estimate,
        by_seed=pairs,
        training=_around(estimate, training),
        images=_around(estimate, images),
        full=_around(estimate, full),
        degrees_of_freedom=None if full is None else 8.3,
        image_share=share,
        verdict=verdict,
        more_seeds=4 if verdict == "not decided" else None,
        more_images=120 if verdict == "not decided" else None,
    )


def _around(estimate: float, half: float | None) -> Interval | None:
    return None if half is None else Interval(low=estimate - half, high=estimate + half)
