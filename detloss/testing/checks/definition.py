"""Checks of the class itself: Config, source, weights and package."""

import inspect
import math
import re
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version
from pydantic import BaseModel, ValidationError

from detloss._version import __version__
from detloss.loss import LossConfig
from detloss.registry import HEAD_GROUP, find_plugins
from detloss.registry.distributions import normalized
from detloss.testing.check import Check
from detloss.testing.checks.values import is_number
from detloss.testing.config_values import Place, accepts, changed, declares, is_model, places, written
from detloss.testing.expecting import DoesNotApply
from detloss.testing.trial import Trial

LONGEST_SUMMARY = 120
"""Characters of a first line: `detloss list` shows it next to the name."""
LEAST_WEIGHT, GREATEST_WEIGHT = 1e-3, 1e3
"""Published weights are between 0.05 (GIoU in YOLOv5) and 12 (DIoU in an R-CNN): beyond these it is a mistake."""


@Check
def docstring(trial: Trial) -> None:
    """The class docstring begins with one sentence on one line."""
    first, _, _ = inspect.cleandoc(trial.subject.cls.__doc__ or "").partition("\n")
    trial.expect(
        bool(first),
        "a docstring on the class",
        "none",
        'Fix: write `"""Name: the formula."""`, and the source in a section References.',
    )
    trial.expect(
        first.endswith(".") and len(first) <= LONGEST_SUMMARY and len(first.split()) > 2,
        f"a first line that is a sentence of at most {LONGEST_SUMMARY} characters and ends with a full stop",
        repr(first),
        "Fix: say in one line what is computed; `detloss list` shows only this line.",
    )


@Check
def citation(trial: Trial) -> None:
    """The class docstring names its source: arXiv, DOI, or (Author, Year)."""
    text = inspect.cleandoc(trial.subject.cls.__doc__ or "")
    trial.expect(
        _SOURCE.search(text) is not None,
        "a source in the class docstring",
        "none",
        "Fix: write `arXiv 1902.09630`, `doi:10.1109/...` or `(Author et al., Venue 2024)`, best in a section "
        "References. For a formula of yours, write your name and the year.",
    )


@Check
def config_strict(trial: Trial) -> None:
    """Config converts nothing: text is not taken for a number."""
    config = trial.subject.config
    trial.expect(bool(config.model_config.get("strict")), "a strict Config", "strict=False", _LEAVE)
    for place, value in places(config):
        # Text instead of a number, a number instead of anything else, unless the field is declared for both.
        wrong: object = "1" if isinstance(value, bool | int | float) else 1
        fields = changed(config, place, wrong)
        trial.expect(
            declares(config, fields) or not accepts(config, fields),
            f"an error for {written(place)}={wrong!r}",
            "no error",
            f"{written(place)} takes {value!r}; another type is a mistake. {_LEAVE}",
        )


@Check
def config_extra(trial: Trial) -> None:
    """Config refuses a parameter that it does not have."""
    config = trial.subject.config
    for place, model in _models(config):
        unknown = (*place, "no_such_parameter")
        trial.expect(
            not accepts(config, changed(config, unknown, 1)),
            f"an error for the unknown parameter '{written(unknown)}'",
            "no error",
            f"{type(model).__qualname__} would hide a typo. {_LEAVE}",
        )


@Check
def config_finite(trial: Trial) -> None:
    """Config refuses NaN and infinity."""
    config = trial.subject.config
    allowed = config.model_config.get("allow_inf_nan")
    trial.expect(allowed is False, "a Config that refuses NaN and infinity", f"allow_inf_nan={allowed!r}", _LEAVE)
    for place, _ in places(config):
        for value in (math.nan, math.inf, -math.inf):
            trial.expect(
                not accepts(config, changed(config, place, value)),
                f"an error for {written(place)}={value}",
                "no error",
                f"Every loss would be NaN or infinite. {_LEAVE}",
            )


@Check
def config_frozen(trial: Trial) -> None:
    """Config cannot be changed after it is made."""
    config = trial.subject.config
    trial.expect(bool(config.model_config.get("frozen")), "a frozen Config", "frozen=False", _LEAVE)
    for place, model in _models(config):
        for name, value in model:
            try:
                setattr(model, name, value)
            except (ValidationError, TypeError, AttributeError):
                found = "an error"
            else:
                found = "none"
            trial.expect(
                found == "an error",
                f"an error for setting {written((*place, name))}",
                found,
                f"A loss must always match its config. {_LEAVE}",
            )


@Check
def recommended_weights(trial: Trial) -> None:
    """Recommended weights are sensible numbers for heads that exist."""
    weights: Any = trial.subject.cls.recommended_weights
    heads = sorted({plugin.name for plugin in find_plugins(HEAD_GROUP)})
    trial.expect(hasattr(weights, "items"), "a mapping of head names to weights", repr(weights), "Fix: write a dict.")
    for head, weight in weights.items():
        trial.expect(
            head in heads,
            f"head names among {', '.join(heads)}",
            repr(head),
            "Fix: use names that `detloss list --heads` shows.",
        )
        trial.expect(
            is_number(weight) and LEAST_WEIGHT <= weight <= GREATEST_WEIGHT,
            f"a weight between {LEAST_WEIGHT:g} and {GREATEST_WEIGHT:g} for {head}",
            repr(weight),
            "Fix: measure it with `detloss calibrate`.",
        )


@Check
def requirement(trial: Trial) -> None:
    """The package requires this detloss, and none with breaking changes."""
    plugin = trial.subject.plugin
    if plugin is None or plugin.distribution is None:
        raise DoesNotApply("No installed package has this class, so there are no requirements.")
    line = requirement_line()
    advice = f'Fix: write "{line}" in the dependencies of {plugin.package}.'
    lines = [(text, parsed) for text in plugin.distribution.requires if (parsed := _of_detloss(text)) is not None]
    trial.expect(bool(lines), f"{plugin.package} to require detloss", "no requirement", advice)
    release = Version(__version__)
    breaking = _next_breaking(release)
    for text, parsed in lines:
        trial.expect(
            not any(parsed.specifier.contains(old, prereleases=True) for old in ("0", "0.0.0.dev0")),
            "a lower bound on detloss",
            repr(text),
            advice,
        )
        later = (breaking, f"{breaking}.1", f"{release.major + 1}.0", f"{release.major + 2}.1", "9999")
        trial.expect(
            not any(parsed.specifier.contains(one, prereleases=True) for one in later),
            f"an upper bound on detloss, below {breaking}",
            repr(text),
            f"{advice} The next version may change the contract.",
        )


def requirement_line(version: str = __version__) -> str:
    """Return the requirement of a plugin that is written for a detloss."""
    release = Version(version)
    return f"detloss>={release.major}.{release.minor},<{_next_breaking(release)}"


def _next_breaking(release: Version) -> str:
    return f"0.{release.minor + 1}" if release.major == 0 else str(release.major + 1)


def _of_detloss(text: str) -> Requirement | None:
    try:
        parsed = Requirement(text)
    except InvalidRequirement:
        return None
    applies = parsed.marker is None or parsed.marker.evaluate({"extra": ""})
    return parsed if applies and normalized(parsed.name) == "detloss" else None


def _models(config: LossConfig) -> list[tuple[Place, BaseModel]]:
    """Return copies of a Config and of the models within it."""
    return [(place, value.model_copy()) for place, value in [((), config), *places(config)] if is_model(value)]


_LEAVE = (
    "Fix: derive Config, and any model in it, from detloss.LossConfig, give every field a type (not `Any`), and keep "
    "their settings. A validator may refuse a value, but not change it."
)
_SOURCE = re.compile(
    r"arXiv(?:[:\s]\s*|\.org/\w+/)\d{4}\.\d{4,5}|\b10\.\d{4,9}/\S+"
    r"|^References:(?:\n[ \t].*)*?\n[ \t].*\b(?:1[6-9]|20)\d\d\b|\([^()]*[A-Z][^()]*\b(?:1[6-9]|20)\d\d\b[^()]*\)",
    re.IGNORECASE | re.MULTILINE,
)
