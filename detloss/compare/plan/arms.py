"""The arms of a comparison: from specs to the configs of runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detloss.calibration import Calibration, calibrate
from detloss.compare.plan.compare_config import ArmConfig
from detloss.config import check_spec
from detloss.errors import ConfigError, DetlossError
from detloss.loss import LossSpec
from detloss.training.folder import relative
from detloss.training.loss_weights import model_and_batches
from detloss.training.settings import TrainConfig

SWEEP = (0.5, 1.0, 2.0)
"""Times the equalizing weight, in a sweep."""
_DIGITS = 4
"""Significant digits of a weight that was measured: it can be read and typed."""


@dataclass(frozen=True)
class Arm:
    """One loss with its parameters and its weight."""

    label: str
    config: TrainConfig
    """The config of all its runs, except for the seed."""
    hash: str
    """Of its config: the same in every comparison that this arm is a part of."""
    weight: float
    gradient_ratio: float | None
    """Gradient at this weight over that of torchvision's own loss; None where no object was matched."""

    def __hash__(self) -> int:
        """By label and hash: a config holds mappings."""
        return hash((self.label, self.hash))

    @property
    def folder(self) -> str:
        """Name of its folder: label and hash."""
        return f"{re.sub(r'[^A-Za-z0-9._@=+-]+', '-', self.label).strip('-.') or 'arm'}-{self.hash}"


def hash_of(config: TrainConfig, folder: Path) -> str:
    """A hash of a config without its seed.

    The place of `folder` makes no difference.
    """
    # Without defaults: an option that a later version of detloss adds changes no hash.
    plain = relative(config.model_dump(mode="json", exclude_defaults=True), folder)
    plain.get("train", {}).pop("seed", None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def swept(arms: Sequence[ArmConfig]) -> tuple[ArmConfig, ...]:
    """Each arm with half, one and two times its equalizing weight."""
    return tuple(
        _changed(arm, weight=f"{'' if factor == 1 else f'{factor:g}'}@equal", label=None)
        if arm.label is None
        else _changed(arm, weight=f"{factor:g}@equal", label=f"{arm.label}, {factor:g} x equal")
        for arm in arms
        for factor in SWEEP
    )


def weighed(arms: Sequence[ArmConfig], base: TrainConfig, head: str) -> tuple[ArmConfig, ...]:
    """The arms with label, numeric weight and gradient ratio.

    Complete arms do not change.

    Raises:
        ConfigError: a loss or a parameter is wrong, or two arms are the same.
        DetlossError: a weight that is to be measured cannot be.
    """
    named = [_checked(arm, head) for arm in arms]
    unknown = [arm for arm in named if arm.gradient_ratio is None]
    measured = iter(_measured(unknown, base, head) if unknown else ())
    found = [arm if arm.gradient_ratio is not None else _weighed(arm, next(measured), head) for arm in named]
    for later, arm in enumerate(found):
        for other in found[:later]:
            if arm.label == other.label:
                raise ConfigError(f"losses: two arms are called {arm.label!r}. Fix: give one of them another `label`.")
            if arms[later].label is None and _same(arm, other):
                raise ConfigError(
                    f"losses: {arm.label} and {other.label} are the same loss with weight {arm.weight:g}. Fix: remove "
                    "one, or give the second a `label` to train the same twice."
                )
    return tuple(found)


def arm_of(spec: ArmConfig, base: TrainConfig, head: str, folder: Path) -> Arm:
    """The arm of a spec with a numeric weight, in the folder."""
    losses = {**base.losses, head: (LossSpec.model_validate(_spec(spec)),)}
    config = base.model_copy(update={"losses": losses})
    return Arm(spec.title, config, hash_of(config, folder), float(spec.weight or 0), spec.gradient_ratio)


def _checked(arm: ArmConfig, head: str) -> ArmConfig:
    """The arm with label and weight, and without default parameters."""
    try:
        resolved = check_spec(_spec(arm, weight=None))
    except DetlossError as error:
        raise ConfigError(f"losses: {arm.title}: {error}") from error
    params = resolved.config.model_dump(mode="json", exclude_defaults=True)
    weight = resolved.cls.recommended_weights.get(head, 1.0) if arm.weight is None else arm.weight
    envelope = arm.model_dump(include=set(ArmConfig.model_fields))
    return ArmConfig.model_validate({**envelope, **params, "label": arm.title, "weight": weight})


def _measured(arms: Sequence[ArmConfig], base: TrainConfig, head: str) -> Iterator[Calibration | None]:
    """Gradient ratios of the losses, measured on the same batches."""
    specs = [{**_spec(arm), "weight": 1.0, "compile": False} for arm in arms]
    config = base.model_copy(update={"losses": {head: tuple(map(LossSpec.model_validate, specs))}})
    model, batches = model_and_batches(config)
    found: Sequence[Calibration | None] = calibrate(model, batches)
    return iter(found or [None] * len(arms))


def _weighed(arm: ArmConfig, measured: Calibration | None, head: str) -> ArmConfig:
    factor = arm.equal_factor
    ratio = measured.ratio if measured and measured.gradient > 0 and measured.stock_gradient > 0 else None
    if factor is None:
        return arm if ratio is None else _changed(arm, gradient_ratio=_rounded(ratio * float(arm.weight or 0)))
    if ratio is None:
        raise ConfigError(
            f"losses: {arm.title}: its equalizing weight cannot be measured: in the first batches no object was "
            f"matched in {head}, or a gradient was zero. Fix: give a weight."
        )
    weight = _rounded(factor / ratio)
    return _changed(arm, weight=weight, gradient_ratio=_rounded(ratio * weight))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _same(first: ArmConfig, second: ArmConfig) -> bool:
    return _spec(first) == _spec(second)


def _spec(arm: ArmConfig, **changes: Any) -> dict[str, Any]:
    """What a config says of the loss."""
    return {**arm.model_dump(exclude={"label", "gradient_ratio"}), **changes}


def _changed(arm: ArmConfig, **changes: Any) -> ArmConfig:
    return ArmConfig.model_validate({**arm.model_dump(), **changes})
