"""Simulated comparisons: how often intervals hold, looks mislead and the race drops the best.

    python tests/support/simulated_comparisons.py [--replicates 20000]

prints the tables of docs/compare-statistics.md. All replicates are drawn at once: a metric is arm + seed + noise + the
mean over images of what each image does to an arm and to one trained model, and the covariance over images is that of
the images themselves, which random halves only estimate.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from detloss.compare.statistics.blocks import Array, BlockModel, fit_blocks
from detloss.compare.statistics.looks import look_level
from detloss.compare.statistics.pairs import (
    Pairs,
    contrast_variance,
    critical,
    full_pairs,
    level_of_each,
    training_pairs,
)
from detloss.compare.statistics.race import droppable
from detloss.compare.statistics.replicates import beyond_seeds, of_means

SD = 0.012
"""Of the metric between two trainings of one arm."""

IMAGES = 72

IMAGE_SD = 0.008
LITTLE_IMAGE_SD = 0.003
"""Of an arm's mean, from `IMAGES` images: what they do to the arm, whatever the seed."""

CORRELATIONS = (0.0, 0.1, 0.5, 0.9)
SEEDS = (3, 5, 8)
ARMS = (2, 3, 5)
CHUNK = 500

LOOKS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((5, 2),),
    ((3, 2), (5, 2), (8, 2)),
    ((3, 3), (5, 3), (8, 3)),
    ((5, 3), (8, 3), (12, 3)),
    ((5, 2), (5, 4)),
    ((3, 3), (5, 5)),
)
"""Seeds and arms of each look."""


class Runs(NamedTuple):
    """Replicates of one comparison in which all arms are equal.

    Attributes:
        y: `(replicates, seeds, arms)`.
        covariance: Over images, of the runs, `(replicates, seeds, arms, seeds, arms)`.
        on_images: What training again and again would give on these images, `(replicates, arms)`.
        of_models: What these models would give on all images there are, `(replicates, arms)`.
    """

    y: Array
    covariance: Array
    on_images: Array
    of_models: Array


def simulate(rng: np.random.Generator, count: int, size: tuple[int, int], correlation: float, image_sd: float) -> Runs:
    """Draw runs; with images, half of the variance that seeds do not share is how an image meets one model."""
    seeds, arms = size
    free = SD * np.sqrt(1 - correlation)
    shared = SD * np.sqrt(correlation) * rng.standard_normal((count, seeds, 1))
    if not image_sd:
        y = shared + free * rng.standard_normal((count, seeds, arms))
        return Runs(y, np.zeros((count, seeds, arms, seeds, arms)), np.zeros((count, arms)), y.mean(1))
    models = shared + free * np.sqrt(0.5) * rng.standard_normal((count, seeds, arms))
    on_arm = image_sd * np.sqrt(IMAGES) * rng.standard_normal((count, IMAGES, 1, arms))
    on_model = free * np.sqrt(0.5 * IMAGES) * rng.standard_normal((count, IMAGES, seeds, arms))
    effects = on_arm + on_model
    flat = (effects - effects.mean(1, keepdims=True)).reshape(count, IMAGES, seeds * arms)
    covariance = (flat.transpose(0, 2, 1) @ flat / (IMAGES * (IMAGES - 1))).reshape(count, seeds, arms, seeds, arms)
    return Runs(models + effects.mean(1), covariance, on_arm.mean(1)[:, 0], models.mean(1))


class Answers(NamedTuple):
    """Differences of many comparisons as `infer` gives them."""

    training: Pairs
    images: Pairs
    full: Pairs


def answers(runs: Runs, *, images: int = IMAGES) -> Answers:
    """Estimate all comparisons at once; no run is missing."""
    model: BlockModel = fit_blocks(runs.y)
    training = training_pairs(model)
    same = contrast_variance(of_means(runs.covariance, model.weights))
    beyond = contrast_variance(beyond_seeds(runs.covariance, np.ones(runs.y.shape[1:])))
    return Answers(
        training,
        Pairs(training.difference, same, np.full_like(same, images - 1)),
        full_pairs(training, beyond, images),
    )


@functools.cache
def _level(arms: int, df: float, alpha: float) -> float:
    between = np.full((arms - 1, arms - 1), 0.5) + np.eye(arms - 1) / 2
    return level_of_each(between, df, alpha, sides=2)


def half_widths(pairs: Pairs, alpha: float, divided: Array | float = 1.0) -> Array:
    """Half the width of each simultaneous interval to arm 0, with levels interpolated between degrees of freedom."""
    df, arms = pairs.df[:, 1:, 0], pairs.df.shape[-1]
    known = np.array([1e6, 60.0, 20.0, 10.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0])
    levels = np.array([_level(arms, each, alpha) for each in known])
    common = 1 / (1 / df).mean(1)
    level = np.interp(1 / common, 1 / known, levels)[:, None]
    return critical(level / divided, df, sides=2) * np.sqrt(pairs.variance[:, 1:, 0])


class Coverage(NamedTuple):
    """Share of comparisons all of whose intervals hold, and mean half-width of the full ones."""

    training: float
    images: float
    full: float
    half_width: float


def coverage(
    seeds: int,
    arms: int,
    correlation: float,
    *,
    image_sd: float = IMAGE_SD,
    replicates: int = 2_000,
    alpha: float = 0.05,
) -> Coverage:
    """Return how often all intervals of a comparison hold at once."""
    rng = np.random.default_rng([seeds, arms, int(10 * correlation), int(1e4 * image_sd)])
    parts = []
    for _ in range(0, replicates, CHUNK):
        runs = simulate(rng, CHUNK, (seeds, arms), correlation, image_sd)
        found = answers(runs, images=IMAGES if image_sd else 10**6)
        truths = (runs.on_images, runs.of_models, np.zeros((CHUNK, arms)))
        row = []
        for pairs, truth in zip(found, truths, strict=True):
            error = np.abs(pairs.difference[:, 1:, 0] - (truth[:, 1:] - truth[:, :1]))
            row.append((error <= half_widths(pairs, alpha) + 1e-12).all(1).mean())
        parts.append((*row, half_widths(found.full, alpha).mean()))
    return Coverage(*np.mean(parts, 0).tolist())


def false_wins(
    looks: Sequence[tuple[int, int]], correlation: float, *, spend: bool, image_sd: float = IMAGE_SD, replicates: int
) -> tuple[float, float]:
    """Share of comparisons of equal arms with any difference at any look, and with any arm called better.

    `looks` are seeds and arms of each; they `spend` alpha as `look_level` says, or have 0.05 each.
    """
    rng = np.random.default_rng(7)
    levels = [look_level(looks[: n + 1]) if spend else 0.05 for n in range(len(looks))]
    wins = np.zeros(2)
    for _ in range(0, replicates, CHUNK):
        runs = simulate(rng, CHUNK, looks[-1], correlation, image_sd)
        won = np.zeros((2, CHUNK), bool)
        for (seeds, arms), level in zip(looks, levels, strict=True):
            part = Runs(
                runs.y[:, :seeds, :arms],
                runs.covariance[:, :seeds, :arms, :seeds, :arms],
                runs.on_images[:, :arms],
                runs.of_models[:, :arms],
            )
            full = answers(part, images=IMAGES if image_sd else 10**6).full
            difference, half = full.difference[:, 1:, 0], half_widths(full, level)
            won |= np.stack([(np.abs(difference) > half).any(1), (difference > half).any(1)])
        wins += won.sum(1)
    either, better = (wins / replicates).tolist()
    return either, better


def race(lead: float, *, arms: int = 6, replicates: int = 2_000) -> tuple[float, float]:
    """How often the race drops the best arm after two seeds, and the share of the others that it drops."""
    rng = np.random.default_rng(3)
    best = others = 0
    for _ in range(replicates):
        y = SD * rng.standard_normal((2, arms))
        y[:, -1] += lead
        gone = droppable(y)
        best += arms - 1 in gone
        others += len({*gone} - {arms - 1})
    return best / replicates, others / replicates / (arms - 2)  # the reference is never dropped


def after_race(seeds: int, arms: int, correlation: float, *, replicates: int) -> tuple[float, float, float]:
    """How often the race drops one of equal arms after two seeds, and how often all intervals for training then hold.

    Plain ones, and with half the error probability for arms that were dropped, as `infer` gives them.
    """
    rng = np.random.default_rng(5)
    gone = np.zeros((replicates, arms), bool)
    found = []
    for each in gone:
        y = _runs(rng, seeds, arms, correlation)
        each[[*droppable(y[:2])]] = True
        y[2:, each] = np.nan
        found.append(training_pairs(fit_blocks(y)))
    plain, halved = (_held(found, divided) for divided in (1.0, 1.0 + gone[:, 1:]))
    return float(gone.any(1).mean()), plain, halved


def with_failures(seeds: int, arms: int, correlation: float, *, share: float, replicates: int) -> float:
    """How often all intervals hold, on these images, where such a share of the runs after the first seed failed."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(replicates):
        y = _runs(rng, seeds, arms, correlation)
        y[1:][rng.random((seeds - 1, arms)) < share] = np.nan
        found.append(training_pairs(fit_blocks(y)))
    return _held(found)


def _runs(rng: np.random.Generator, seeds: int, arms: int, correlation: float) -> Array:
    shared = np.sqrt(correlation) * rng.standard_normal((seeds, 1))
    return np.asarray(SD * (shared + np.sqrt(1 - correlation) * rng.standard_normal((seeds, arms))))


def _held(found: Sequence[Pairs], divided: Array | float = 1.0) -> float:
    """How often all intervals hold where all arms are equal."""
    pairs = Pairs(*(np.stack(column) for column in zip(*map(dataclasses.astuple, found), strict=True)))
    return float((np.abs(pairs.difference[:, 1:, 0]) <= half_widths(pairs, 0.05, divided)).all(1).mean())


def tables(replicates: int) -> Iterator[str]:
    """Yield the lines of the tables in docs/compare-statistics.md."""
    yield "| seeds | arms | correlation of seeds | training | images | full | full, little | full, none | half-width |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for seeds in SEEDS:
        for arms in ARMS:
            for correlation in CORRELATIONS:
                none, little = (
                    coverage(seeds, arms, correlation, image_sd=image_sd, replicates=replicates).full
                    for image_sd in (0.0, LITTLE_IMAGE_SD)
                )
                found = coverage(seeds, arms, correlation, replicates=replicates)
                yield (
                    f"| {seeds} | {arms} | {correlation} | {found.training:.3f} | {found.images:.3f} "
                    f"| {found.full:.3f} | {little:.3f} | {none:.3f} | {found.half_width:.4f} |"
                )
    yield ""
    yield "| looks | correlation of seeds | image noise | 0.05 each | spent | spent, called better |"
    yield "|---|---|---|---|---|---|"
    for looks in LOOKS:
        for correlation in (0.0, 0.5):
            for image_sd in (0.0, IMAGE_SD):
                each, _ = false_wins(looks, correlation, spend=False, image_sd=image_sd, replicates=replicates)
                spent = false_wins(looks, correlation, spend=True, image_sd=image_sd, replicates=replicates)
                yield (
                    f"| {', '.join(f'{seeds} x {arms}' for seeds, arms in looks)} | {correlation} "
                    f"| {'yes' if image_sd else 'no'} | {each:.3f} | {spent[0]:.3f} | {spent[1]:.3f} |"
                )
    yield ""
    yield "| true lead | the best is dropped | others dropped |"
    yield "|---|---|---|"
    for lead in (0.0, 0.005, 0.01, 0.02):
        best, others = race(lead, replicates=replicates)
        yield f"| {lead} | {best:.3f} | {others:.2f} |"
    yield ""
    yield "| seeds | arms | correlation of seeds | an arm is dropped | intervals hold | with half the error for it |"
    yield "|---|---|---|---|---|---|"
    for seeds in SEEDS:
        for correlation in (0.0, 0.5):
            dropped, plain, halved = after_race(seeds, 4, correlation, replicates=max(replicates // 4, 100))
            yield f"| {seeds} | 4 | {correlation} | {dropped:.2f} | {plain:.3f} | {halved:.3f} |"
    yield ""
    yield "| seeds | arms | correlation of seeds | all intervals hold |"
    yield "|---|---|---|---|"
    for seeds in SEEDS:
        for correlation in (0.0, 0.5):
            held = with_failures(seeds, 3, correlation, share=0.2, replicates=max(replicates // 4, 100))
            yield f"| {seeds} | 3 | {correlation} | {held:.3f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=20_000)
    for line in tables(parser.parse_args().replicates):
        print(line, flush=True)


if __name__ == "__main__":
    main()
