"""What real runs say about the statistics of `detloss compare`.

    python tests/benchmarks/evidence.py docs/evidence/blood-cells [FOLDER...]

Takes folders of comparisons with their data, and prints for each one:

- the noise that was measured, beside what `--dry-run` assumes of it;
- how often an interval from all seeds but one holds the difference at the seed left out. The interval is for the
  mean of S - 1 seeds; times sqrt(S) it is one for a further seed, as s² (1 / (S - 1) + 1) is S times s² / (S - 1);
- how many differences are decided with 2, 3, ... of the seeds, over all choices of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from detloss.compare.analysis.grid import Grid, measure_runs
from detloss.compare.analysis.run_folders import read_planned
from detloss.compare.plan import read_plan
from detloss.compare.statistics import Inference, infer
from detloss.compare.statistics.forecast import IMAGE_SD, SEED_SD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of comparisons")
    for folder in parser.parse_args().folders:
        plan = read_plan(folder)
        records = read_planned(plan)
        grid = measure_runs(records, plan.config.all_seeds)
        whole = [place for place, row in enumerate(grid.metric) if np.isfinite(row).all()]
        reference, images = plan.arms.index(plan.reference), len(records.truth["images"])
        print(f"\n{folder}: {len(plan.arms)} losses, {len(whole)} seeds that all of them finished, {images} images")
        if len(whole) < 2:
            print("  nothing to say of one seed")
            continue
        print_noise(inference(grid, whole, reference, images), images)
        print_left_out(grid, whole, reference, images)
        print_decided(grid, whole, reference, images)


def inference(grid: Grid, seeds: Sequence[int], reference: int, images: int) -> Inference:
    """What some of the seeds say."""
    return infer(grid.metric[list(seeds)], grid.parts[:, list(seeds)], images=images, reference=reference)


def print_noise(found: Inference, images: int) -> None:
    noise = found.noise
    print(f"  standard deviation between two trainings  {noise.seed_sd:.4f} (assumed {SEED_SD})")
    print(
        f"  correlation of runs that share a seed     {noise.seed_correlation:.2f}, runs saved {noise.runs_saved:.1f}"
    )
    print(f"  of a difference, from the images          {noise.image_sd:.4f} (assumed {IMAGE_SD / images**0.5:.4f})")


def print_left_out(grid: Grid, seeds: Sequence[int], reference: int, images: int) -> None:
    if len(seeds) < 3:
        return
    held = np.array(list(_held(grid, seeds, reference, images)))
    print(f"  one seed left out: {held.mean():.2f} of {held.size} differences at it lie in their interval,")
    print(f"    in {held.all(axis=1).mean():.2f} of {len(held)} seeds all of them do")


def _held(grid: Grid, seeds: Sequence[int], reference: int, images: int) -> Iterator[list[bool]]:
    for out in seeds:
        found = inference(grid, [seed for seed in seeds if seed != out], reference, images)
        row = []
        for one in found.contrasts:
            assert one.estimate is not None
            assert one.training is not None
            seen = grid.metric[out, one.arm] - grid.metric[out, reference]
            half = (one.training.high - one.training.low) / 2 * len(seeds) ** 0.5
            row.append(bool(abs(seen - one.estimate) <= half))
        yield row


def print_decided(grid: Grid, seeds: Sequence[int], reference: int, images: int) -> None:
    for count in range(2, len(seeds) + 1):
        verdicts = [
            one.verdict
            for chosen in combinations(seeds, count)
            for one in inference(grid, chosen, reference, images).contrasts
        ]
        shares = {verdict: verdicts.count(verdict) / len(verdicts) for verdict in dict.fromkeys(sorted(verdicts))}
        print(f"  with {count} seeds: " + ", ".join(f"{share:.0%} {verdict}" for verdict, share in shares.items()))


if __name__ == "__main__":
    main()
