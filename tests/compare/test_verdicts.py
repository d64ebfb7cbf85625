"""Sentences: each state of a comparison is said in words that a stranger understands."""

from __future__ import annotations

from typing import Any

import pytest
from comparisons import CASES, example, one_run_each, selection, with_dropped, with_failures, without_reference

from detloss.compare.analysis.verdicts import sentences
from detloss.compare.result import Comparison, Difference, Interval, Verdict


def two(verdict: Verdict, low: float, high: float, **fields: Any) -> Comparison:
    """A comparison of two losses whose difference lies between these values."""
    comparison = example({"smooth_l1": 0.0, "giou": 0.01}, images=72)
    best = {"better": (False, True), "worse": (True, False)}.get(verdict, (True, True))
    arms = [arm.model_copy(update={"may_be_best": stays}) for arm, stays in zip(comparison.arms, best, strict=True)]
    difference = comparison.differences[0].model_copy(
        update={"verdict": verdict, "estimate": (low + high) / 2, "full": Interval(low=low, high=high)} | fields
    )
    return comparison.model_copy(update={"differences": (difference,), "arms": tuple(arms)})


def three(*verdicts: tuple[Verdict, float, float], best: tuple[bool, bool, bool]) -> Comparison:
    """A comparison of three losses whose differences to the first one lie between these values."""
    comparison = example()
    arms = [arm.model_copy(update={"may_be_best": stays}) for arm, stays in zip(comparison.arms, best, strict=True)]
    differences: list[Difference] = [
        each.model_copy(update={"verdict": verdict, "estimate": (low + high) / 2, "full": Interval(low=low, high=high)})
        for each, (verdict, low, high) in zip(comparison.differences, verdicts, strict=True)
    ]
    return comparison.model_copy(update={"differences": tuple(differences), "arms": tuple(arms)})


@pytest.mark.parametrize(
    ("comparison", "answer"),
    [
        (
            two("better", 0.001, 0.035),
            "giou is better than smooth_l1, by at least 0.001 AP (95 % confidence).",
        ),
        (
            two("better", 0.0002, 0.035),
            "giou is better than smooth_l1, by at least 0.0002 AP (95 % confidence).",
        ),
        (
            two("worse", -0.035, -0.01),
            "smooth_l1 is better than giou, by at least 0.010 AP (95 % confidence).",
        ),
        (
            two("equivalent", -0.003, 0.002),
            (
                "giou differs from smooth_l1 by no more than 0.005 AP, which makes no difference in practice "
                "(95 % confidence)."
            ),
        ),
        (
            two("not decided", -0.006, 0.022, more_seeds=6, more_images=1350),
            (
                "Not decided: giou was 0.008 AP above smooth_l1, and could be between -0.006 and +0.022 (95 % "
                "confidence). About 6 more seeds of each loss or 1,350 more test images would decide it, if the "
                "difference stays."
            ),
        ),
        (
            two("not decided", -0.022, 0.006, more_seeds=None, more_images=350),
            (
                "Not decided: giou was 0.008 AP below smooth_l1, and could be between -0.022 and +0.006 (95 % "
                "confidence). About 350 more test images would decide it, if the difference stays."
            ),
        ),
        (
            two("not decided", -0.022, 0.022, more_seeds=None, more_images=None),
            (
                "Not decided: giou was 0.000 AP above smooth_l1, and could be between -0.022 and +0.022 (95 % "
                "confidence). The difference is too small for the noise: neither 50 more seeds nor 20 times the images "
                "would decide it."
            ),
        ),
        (
            two("identical", 0.0, 0.0, full=None, training=None, images=None),
            "giou is identical to smooth_l1 in every run: check that the configs differ in what you compare.",
        ),
        (
            three(("better", 0.002, 0.03), ("not decided", -0.01, 0.02), best=(False, True, False)),
            "giou is better than smooth_l1, by at least 0.002 AP (95 % confidence); giou is the best of the 3 losses.",
        ),
        (
            three(("better", 0.002, 0.03), ("not decided", -0.01, 0.02), best=(False, True, True)),
            (
                "giou is better than smooth_l1, by at least 0.002 AP (95 % confidence); which of giou and ciou is "
                "the best is not decided."
            ),
        ),
        (
            three(("better", 0.002, 0.03), ("better", 0.004, 0.03), best=(False, True, True)),
            (
                "ciou and giou are better than smooth_l1, each by at least 0.002 AP (95 % confidence); which of them "
                "is the best is not decided."
            ),
        ),
        (
            three(("worse", -0.04, -0.002), ("not decided", -0.04, 0.003), best=(True, False, False)),
            (
                "smooth_l1, the reference, is the best of the 3 losses; it is better than giou, by at least 0.002 AP "
                "(95 % confidence)."
            ),
        ),
        (
            three(("worse", -0.04, -0.002), ("equivalent", -0.004, 0.003), best=(True, False, True)),
            (
                "smooth_l1 is better than giou, by at least 0.002 AP; ciou differs from smooth_l1 by no more than "
                "0.005 AP, which makes no difference in practice (95 % confidence)."
            ),
        ),
        (without_reference(), "Not decided: no run of the reference smooth_l1 finished."),
    ],
)
def test_the_first_sentence_is_the_answer(comparison: Comparison, answer: str) -> None:
    """The first sentence says which loss and by how much, or that it is not decided and what would decide."""
    assert sentences(comparison)[0] == answer


def test_the_first_sentence_with_three_undecided() -> None:
    """With several losses it first says that none is known to be better, then how the leader stands."""
    undecided = three(("not decided", -0.01, 0.03), ("not decided", -0.02, 0.02), best=(True, True, True))
    first, *others = sentences(undecided)
    assert first.startswith("Not decided: no loss is known to be better than smooth_l1. giou was 0.010 AP above")
    assert "The best loss is one of smooth_l1, giou and ciou (95 % confidence)." in others
    assert any(each.startswith("If you must choose now, take giou: it is the best with probability") for each in others)


def test_intervals() -> None:
    """What training again on new images and on these would give is said with the share that the images have of it."""
    comparison = two("better", 0.001, 0.035, image_share=0.7, training=Interval(low=0.008, high=0.028))
    text = " ".join(sentences(comparison))
    assert "On average giou (weight 10) was 0.018 AP above smooth_l1, and it was better in " in text
    assert (
        "If you trained both again and tested on new images like these 72, the mean difference would lie between "
        "+0.001 and +0.035 (95 % confidence); on these same images, between +0.008 and +0.028." in text
    )
    assert "70 % comes from having only 72 test images, which more seeds will not remove" in text
    little = " ".join(sentences(two("better", 0.001, 0.035, image_share=0.01)))
    assert "hardly comes from having only 72 test images" in little
    assert "all 2 differences together" in " ".join(sentences(example()))


def test_one_run_each() -> None:
    """One run of each loss compares no losses: the first sentence says so, the interval is that of the images."""
    first, *others = sentences(one_run_each())
    assert first.startswith("Not decided: each loss was trained once")
    assert "on new images these same models would differ by a value between" in others[0]
    assert not [each for each in others if "trained both again" in each]


def test_what_went_wrong_is_said() -> None:
    """Failed runs, dropped arms, a missing test split, further looks and unequal noise are each a sentence."""
    failed = " ".join(sentences(with_failures()))
    assert "1 of 5 runs of giou failed (The loss roi_heads/giou became NaN in step 412 of 3000); its mean" in failed
    assert "5 of 5 runs of siou failed (The loss became NaN in step 12)." in failed
    behind = with_dropped()
    assert "l1 was dropped after 2 seeds, since it was far behind" in " ".join(sentences(behind))
    arms = tuple(
        arm.model_copy(update={"dropped_after": 2 if arm.label in ("l1", "giou") else None}) for arm in behind.arms
    )
    both = " ".join(sentences(behind.model_copy(update={"arms": arms})))
    assert "giou and l1 were dropped after 2 seeds, since they were far behind" in both
    selected = " ".join(sentences(selection()))
    assert "This is selection, not confirmation" in selected
    assert "This is look 2 at a growing comparison." in selected
    assert "97.2 % instead of 95 %" in selected
    plain = " ".join(sentences(example()))
    assert not [word for word in ("failed", "dropped", "selection", "look", "scatter") if word in plain]


def test_what_pairing_was_worth() -> None:
    """The last sentence says what sharing seeds saved or cost."""
    comparison = example()
    assert (
        "(correlation 0.08, a rough number from 5 seeds): sharing seeds saved about 0.6 runs"
        in sentences(comparison)[-1]
    )
    noise = comparison.noise.model_copy(update={"runs_saved": -1.2, "seed_correlation": 0.0})
    assert "sharing seeds cost about 1.2 runs" in sentences(comparison.model_copy(update={"noise": noise}))[-1]


@pytest.mark.parametrize("name", CASES)
def test_every_comparison_has_words(name: str) -> None:
    """Whatever happened, there are sentences, each ends with a period and none shows a hole."""
    for each in sentences(CASES[name]()):
        assert each.endswith(".")
        assert not [hole for hole in ("None", "nan", "  ", "..") if hole in each]
