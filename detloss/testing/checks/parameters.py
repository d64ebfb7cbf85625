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
from detloss.testing.expecting import DoesNotApply, same
from detloss.testing.trial import Trial, set_progress

PROGRESS = (0.0, 0.3, 1.0)
"""Progress of the run in each training step. Schedules of all shapes agree at the ends, and many in the middle."""
SETTINGS = 50
"""Settings of the other parameters that are tried before a parameter counts as ignored."""
NUMBERS = 2
"""Numbers of each parameter in such a setting."""


@Check
def parameters_used(trial: Trial) -> None:
    """Every parameter makes a difference to some value, gradient or state."""
    config = trial.subject.config
    places = list(parameters(config))
    if not places:
        raise DoesNotApply("It has no parameters.")
    _results(trial, trial.fresh())  # an error without any change is not the effect of a parameter
    warnings.simplefilter("ignore")  # of torch, at unusual values
    for place in places:
        others = [f"{value_at(other, place)!r:.40}" for other in islice(other_values(config, place), 3)]
        if not others:
            continue
        name = written(place)
        trial.expect(
            any(_matters(trial, setting, place, NUMBERS) for setting in _settings(config, place))
            or _matters(trial, config, place),
            f"{name} to change some value, gradient or running state, for some setting of the other parameters",
            f"no change between {value_at(config, place)!r:.40} and {', '.join(others)}",
            f"Setting it in a config would change nothing. Fix: use `self.config.{name}`, or remove it from Config. "
            "If it has an effect only with several processes, declare an exception.",
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
        except Exception:  # noqa: BLE001 - a refused value says nothing about accepted ones
            continue
        try:
            found = _results(tried, loss)
        except Exception:  # noqa: BLE001 - a forward that fails only for this value has read it
            return True
        if found.keys() != wanted.keys() or not all(_equal(found[key], wanted[key]) for key in wanted):
            return True
    return False


def _settings(config: LossConfig, kept: Place) -> Iterator[LossConfig]:
    """Yield the Config, then with one other parameter changed, then two."""
    # A mode may decide which parameters matter.
    settings = [config]
    for setting in islice(settings, SETTINGS):  # it grows meanwhile
        yield setting
        places = [place for place in parameters(setting) if place != kept]
        # In turns: a parameter with many values must not use up the settings.
        turns = zip_longest(*(other_values(setting, place, NUMBERS) for place in places))
        others = (other for turn in turns for other in turn if other is not None and other not in settings)
        settings.extend(islice(others, SETTINGS - len(settings)))


def _results(trial: Trial, loss: BoxRegressionLoss) -> dict[str, Tensor]:
    """Return a loss's results during and after a short training."""
    before = {name: buffer.clone() for name, buffer in loss.named_buffers()}
    results: dict[str, Tensor] = {}
    for step, done in enumerate(PROGRESS):
        set_progress(loss, done)
        values, gradient = trial.values_and_gradient(loss, *trial.pairs(16, seed=step))
        results |= {f"values {step}": values, f"gradient {step}": gradient}
    # A buffer that never changes is a constant; forward decides how to use it.
    results |= {name: buffer for name, buffer in loss.named_buffers() if not _equal(buffer, before[name])}
    values, gradient = trial.values_and_gradient(loss.eval(), *degenerate_pairs(torch.float64))
    return results | {"values": values, "gradient": gradient}


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(same(first, second).all())
