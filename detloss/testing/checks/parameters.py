"""The check that no parameter is ignored."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, zip_longest

import torch
from torch import Tensor

from detloss.loss import BoxRegressionLoss, LossConfig
from detloss.testing.check import Check
from detloss.testing.checks.degenerate import degenerate_pairs
from detloss.testing.config_values import Place, other_values, parameters, value_at, written
from detloss.testing.trial import DoesNotApply, Trial, same, set_progress

PROGRESS = (0.0, 0.3, 1.0)
"""How far the run is in each training step: schedules of all shapes are alike at its ends, and many at its middle."""
SETTINGS = 50
"""How many settings of the other parameters are tried before a parameter counts as ignored."""
NUMBERS = 2
"""How many numbers stand for all of them in such a setting."""


@Check
def parameters_used(trial: Trial) -> None:
    """Every parameter makes a difference to some value, gradient or state."""
    config = trial.subject.config
    places = list(parameters(config))
    if not places:
        raise DoesNotApply("It has no parameters.")
    _results(trial, trial.fresh())  # What it raises as it is must not count as the doing of a parameter.
    warnings.simplefilter("ignore")  # of torch, at values that nobody would choose
    for place in places:
        others = [f"{value_at(other, place)!r:.40}" for other in islice(other_values(config, place), 3)]
        if not others:
            continue
        name = written(place)
        trial.expect(
            any(_matters(trial, setting, place, NUMBERS) for setting in _settings(config, place))
            or _matters(trial, config, place),
            f"{name} to make a difference to some value, gradient or running state, whatever the other parameters are",
            f"none between {value_at(config, place)!r:.40} and {', '.join(others)}",
            f"A config that sets it would change nothing: compute with `self.config.{name}`, or take it out of Config. "
            "If only several processes show it, declare an exception.",
        )
    if not trial.comparisons:
        raise DoesNotApply("No other values of its parameters are known.")


def _matters(trial: Trial, setting: LossConfig, place: Place, numbers: int | None = None) -> bool:
    """Tell whether some other value of a parameter changes any result."""
    base = Trial(replace(trial.subject, config=setting))
    try:
        wanted = _results(base, base.fresh())
    except Exception:  # noqa: BLE001 - other parameters need not work
        return False
    for other in other_values(setting, place, numbers):
        tried = Trial(replace(trial.subject, config=other))
        try:
            loss = tried.fresh()
        except Exception:  # noqa: BLE001 - a value that the loss refuses says nothing of those that it takes
            continue
        try:
            found = _results(tried, loss)
        except Exception:  # noqa: BLE001 - a forward that fails for this value only has read it
            return True
        if found.keys() != wanted.keys() or not all(_equal(found[key], wanted[key]) for key in wanted):
            return True
    return False


def _settings(config: LossConfig, kept: Place) -> Iterator[LossConfig]:
    """Yield the Config, then with one other parameter changed, then two."""
    # A mode may decide what matters.
    settings = [config]
    for setting in islice(settings, SETTINGS):  # it grows meanwhile
        yield setting
        places = [place for place in parameters(setting) if place != kept]
        # By turns: a parameter with many values must not use up the settings.
        turns = zip_longest(*(other_values(setting, place, NUMBERS) for place in places))
        others = (other for turn in turns for other in turn if other is not None and other not in settings)
        settings.extend(islice(others, SETTINGS - len(settings)))


def _results(trial: Trial, loss: BoxRegressionLoss) -> dict[str, Tensor]:
    """Return what a loss gives in a short training, and after it."""
    before = {name: buffer.clone() for name, buffer in loss.named_buffers()}
    results: dict[str, Tensor] = {}
    for step, done in enumerate(PROGRESS):
        set_progress(loss, done)
        values, gradient = trial.values_and_gradient(loss, *trial.pairs(16, seed=step))
        results |= {f"values {step}": values, f"gradient {step}": gradient}
    # A buffer that never changes is a constant, and using that is up to forward.
    results |= {name: buffer for name, buffer in loss.named_buffers() if not _equal(buffer, before[name])}
    values, gradient = trial.values_and_gradient(loss.eval(), *degenerate_pairs(torch.float64))
    return results | {"values": values, "gradient": gradient}


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(same(first, second).all())
