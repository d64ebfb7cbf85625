"""A comparison as the analysis gives it, with made-up numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detloss.compare.analysis.verdicts import sentences
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
    return comparison if comparison.verdict else changed(comparison)


def changed(comparison: Comparison, **changes: Any) -> Comparison:
    """The same with other values, and with the sentences that follow."""
    other = comparison.model_copy(update=changes)
    return other.model_copy(update={"verdict": sentences(other)})


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
