"""`Comparison`: all that a comparison found, which is what ``compare.json`` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["better", "worse", "equivalent", "not decided", "identical"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Interval(_Part):
    """Between which two values a difference of AP lies."""

    low: float
    high: float


class Question(_Part):
    """What is compared, on what, and how sure the answer must be."""

    metric: str
    """The one number that decides: AP."""
    split: Literal["val", "test"]
    """Split that the runs are judged on."""
    images: int
    objects: int
    """Without crowds."""
    data: str
    """The split in a word, for a reader: its annotation file, or synthetic images."""
    model: str
    head: str
    reference: str
    """Label of the arm that all others are compared with."""
    margin: float
    """Differences up to this one make no difference in practice."""
    alpha: float
    """Probability of a false statement in all intervals of all looks together."""
    alpha_spent: float
    """What this look may use of it, after those before."""
    seeds: tuple[int, ...]
    """Seeds that were asked for."""


class RunResult(_Part):
    """One run of one arm."""

    seed: int
    state: Literal["finished", "failed", "missing"]
    reason: str | None = None
    """Why it failed."""
    folder: str
    """Relative to the comparison's folder, where there is one."""
    metrics: dict[str, float] = {}
    """COCO's numbers; -1 where there is nothing to measure on."""
    by_iou: dict[str, float] = {}
    """AP at each IoU threshold, "0.50" to "0.95"."""
    classes: dict[str, float] = {}
    """AP of each class."""
    tide: dict[str, float] = {}
    """AP50 that would be gained without errors of a kind: Cls, Loc, Both, Dupe, Bkg, Miss (arXiv 2008.08115)."""
    matched_iou: float | None = None
    """Mean IoU on objects that every finished run found."""
    calibration_error: float | None = None
    """Expected calibration error of the scores at IoU 0.5, in [0, 1]."""
    skipped_steps: int = 0
    """Steps that the guard skipped."""
    curve: tuple[tuple[int, float], ...] = ()
    """Epoch and AP of each evaluation on validation data."""


class ArmResult(_Part):
    """One arm: a loss with its parameters and weight."""

    label: str
    losses: dict[str, Any]
    """Resolved specs by head, as in a config."""
    weight: float | None
    """Of the loss in the head that is compared; None where it holds several losses."""
    gradient_ratio: float | None = None
    """Gradient at that weight over the stock loss's, where it was measured."""
    hash: str
    runs: tuple[RunResult, ...]
    """In the order of the seeds."""
    dropped_after: int | None = None
    """Seeds after which the race dropped it."""
    mean: float | None
    """Mean of the metric over finished runs."""
    may_be_best: bool
    """Whether it is in the set that holds the best arm with probability 1 - alpha (Hsu)."""
    probability_best: float | None
    expected_loss: float | None
    """What is lost in the mean if this arm is chosen and another is better."""

    @property
    def finished(self) -> tuple[RunResult, ...]:
        """Its finished runs."""
        return tuple(run for run in self.runs if run.state == "finished")


class Difference(_Part):
    """One arm minus the reference."""

    arm: str
    estimate: float | None
    """None where no run of the arm or of the reference finished."""
    by_seed: dict[int, float]
    """Differences at the seeds that both finished."""
    training: Interval | None
    """If both were trained again, on these images; None with one run each."""
    images: Interval | None
    """If these same models were tested on new images; None where that cannot be told."""
    full: Interval | None
    """If both were trained again and tested on new images: this one decides. None with one run each."""
    degrees_of_freedom: float | None
    image_share: float | None
    """Share of the variance of `estimate` that comes from the finite number of images, in [0, 1]."""
    verdict: Verdict
    more_seeds: int | None = None
    """Further seeds that would decide, if the estimate stayed; None where none would."""
    more_images: int | None = None
    """Further test images that would decide; None where none would."""

    @property
    def decides(self) -> Interval | None:
        """The deciding interval; with one run each, that for new images."""
        return self.full or self.images


class Noise(_Part):
    """Where the uncertainty comes from, and what pairing was worth."""

    seed_sd: float | None
    """Standard deviation of the metric between two trainings of one arm."""
    seed_correlation: float | None
    """Intraclass correlation of runs that share a seed, in [0, 1]."""
    runs_saved: float | None
    """Runs that sharing seeds saved, against seeds of their own for the same half-width; negative where it cost."""
    image_sd: float | None
    """Standard error of a difference that comes from the finite number of images, median over the arms."""
    unequal: bool = False
    """Whether the arms differ so much in variance that each pair has intervals of its own."""


class Look(_Part):
    """One analysis of this comparison; each spends of alpha."""

    seeds: int
    arms: int
    alpha: float


class ImagePair(_Part):
    """One test image on which two arms are shown side by side."""

    image_id: int
    """Number of the image in the data set, from 1."""
    file_name: str
    arms: tuple[str, str]
    difference: float
    """Mean over seeds of the panoptic quality of the first minus that of the second."""
    chosen: Literal["first better", "second better", "random"]


class RunMeasured(_Part):
    """What one run took; not a part of what repeats exactly."""

    arm: str
    seed: int
    seconds: float | None
    seconds_a_step: float | None
    memory_mib: float | None


class Measured(_Part):
    """Times, memory and dates.

    Only this part of compare.json differs when a comparison is repeated.
    """

    analyzed: str
    """Date, ISO 8601."""
    runs: tuple[RunMeasured, ...]
    devices: tuple[str, ...]


class Comparison(_Part):
    """What is known about some losses on some data, and how surely."""

    schema_version: Literal[1] = 1
    question: Question
    arms: tuple[ArmResult, ...]
    differences: tuple[Difference, ...]
    """One for each arm but the reference, in the order of `arms`."""
    class_objects: dict[str, int]
    """Objects of each class in the split."""
    noise: Noise
    looks: tuple[Look, ...]
    image_pairs: tuple[ImagePair, ...]
    selection: bool
    """True without a test split: the numbers choose, they do not confirm."""
    command: str
    """What repeats it."""
    provenance: dict[str, Any]
    """Versions, and SHA-256 of annotations and images, which are those of all runs."""
    verdict: tuple[str, ...]
    """The answer in sentences, the first one by itself enough."""
    measured: Measured
