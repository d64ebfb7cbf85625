"""The questions of `detloss new`, their defaults and checks."""

import json
import keyword
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detloss.registry.entry_points import NAME_PATTERN
from detloss.scaffold.fields import YAML_WORDS, problem_of_parameters


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        key: The name of its answer.
        text: What a terminal shows.
        problem: Says what is wrong with an answer; empty for a good one.
        default: Derives the default from the earlier answers.
    """

    key: str
    text: str
    problem: Callable[[str], str]
    default: Callable[[Mapping[str, str]], str] = lambda _: ""


def module_of(distribution: str) -> str:
    """Return the name of a package's module."""
    return re.sub(r"[-_.]+", "_", distribution).lower()


def _problem_of_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        return (
            f"{name!a} cannot be the name of a loss (expected letters, digits, _ and -, a letter first, at most 64). "
            "Fix: write a name like power_iou."
        )
    if name.lower() in YAML_WORDS:
        return f"{name!r} cannot be the name of a loss: YAML does not read it as text. Fix: choose another name."
    return ""


def _problem_of_distribution(name: str) -> str:
    if not re.fullmatch("[A-Za-z]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", name):
        return (
            f"{json.dumps(name)} is not a package name (expected letters, digits, ., _ and -, a letter first, a "
            "letter or digit last, at most 100)."
        )
    module = module_of(name)
    if module in {"detloss", "torch", "torchvision", "pydantic", "pytest", "tests"}:
        return f"{json.dumps(name)} would hide the module of that name. Fix: write detloss- before it."
    if module in sys.stdlib_module_names or keyword.iskeyword(module):
        return (
            f"{name!r} cannot be the name of the package: its module {module} is a module of Python. "
            f"Fix: choose another name, such as detloss-{name}."
        )
    return ""


def _problem_of_class(name: str) -> str:
    if not re.fullmatch("[A-Z][A-Za-z0-9]{0,63}", name):
        return (
            f"{json.dumps(name)} is not a class name (expected letters and digits, a capital first, at most 64). "
            "Fix: write a name like PowerIoULoss."
        )
    if name in {"BoxRegressionLoss", "LossConfig", "Config", "Field", "Tensor", "None", "True", "False"}:
        return f"{name} already has a meaning in the module. Fix: choose another name."
    return ""


def _line(what: str, most: int, missing: str) -> Callable[[str], str]:
    """Return a check of a text of one line."""

    def problem(text: str) -> str:
        if not text.strip():
            return missing
        if len(text) > most:
            return f"The {what} is too long (found {len(text)} characters, expected at most {most})."
        if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text):
            return f"The {what} has a line break or a control character. Fix: write it on one line."
        return ""

    return problem


def _one_of(*choices: str) -> Callable[[str], str]:
    return lambda answer: "" if answer in choices else f"{answer!a} is not one of {', '.join(choices)}."


def _words(name: str) -> list[str]:
    """Return the words of a loss's name, such as Power, IoU."""
    return [
        f"{word[:-3].upper()}IoU" if re.fullmatch("[a-z]{0,3}iou|[iI][oO][uU]", word) else word[0].upper() + word[1:]
        for word in re.split("[-_]", name)
        if word
    ]


def _default_class(answers: Mapping[str, str]) -> str:
    name = "".join(_words(answers["loss"]))
    return name if name.lower().endswith("loss") else f"{name}Loss"


NAME = Question("loss", "Name of the loss in configs", _problem_of_name)

QUESTIONS = (
    Question(
        "distribution",
        "Name of the package, as in `pip install`",
        _problem_of_distribution,
        lambda answers: f"detloss-{answers['loss'].lower().replace('_', '-')}".rstrip("-"),
    ),
    Question(
        "title",
        "Title, such as Power IoU",
        _line("title", 200, "A title is needed."),
        lambda answers: " ".join(_words(answers["loss"])),
    ),
    Question("class_name", "Name of the class", _problem_of_class, _default_class),
    Question(
        "paper",
        "Paper, such as He et al., NeurIPS 2021, arXiv 2110.13675",
        _line("citation", 300, "Fix: name the source of the loss, or write `unpublished` and the year."),
        lambda answers: f"unpublished, {answers['year']}",
    ),
    Question(
        "space",
        "What the loss compares: boxes in pixels (like IoU), or the head's deltas (like L1)",
        _one_of("boxes", "deltas"),
        lambda _: "boxes",
    ),
    Question(
        "parameters",
        "Parameters, such as alpha=3.0:ge=1,le=10 beta=0.5:ge=0,le=1 (may be empty)",
        problem_of_parameters,
    ),
    Question(
        "author",
        "Author, as in the license",
        _line("author", 200, "A license needs a holder."),
        lambda answers: f"the {answers['distribution']} authors",
    ),
    Question(
        "license",
        "License: MIT, BSD-3-Clause or Apache-2.0",
        _one_of("MIT", "BSD-3-Clause", "Apache-2.0"),
        lambda _: "BSD-3-Clause",
    ),
)
"""In the order of asking: a default depends on the earlier answers."""
