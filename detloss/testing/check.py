"""A check, and the result of running it."""

from __future__ import annotations

import inspect
import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from detloss.errors import ConformanceError
from detloss.registry import one_scan
from detloss.testing.expecting import Comparing, DoesNotApply
from detloss.testing.subject import SubjectLike, subject_of
from detloss.testing.trial import Trial
from detloss.text import printable

Outcome = Literal["passed", "failed", "excepted", "not_applicable"]
"""``excepted``: it failed, and a declared exception says why; ``not_applicable``: it means nothing for this loss."""

_LONGEST_ERROR = 240
"""Characters of an error in a message: compilers write pages."""


@dataclass(frozen=True)
class Kind:
    """What is checked: losses or heads.

    Attributes:
        word: One of it.
        find: Gives the subject from what a caller names. A subject has `who` and `cls`.
        trial: Gives the tools of a check from a subject.
    """

    word: Literal["loss", "head"]
    find: Callable[[Any], Any]
    trial: Callable[[Any], Comparing]


LOSSES = Kind("loss", subject_of, Trial)


@dataclass(frozen=True)
class Check:
    """One promise that every loss, or every head, makes.

    Attributes:
        function: The check itself. It gives the name, and its docstring says first what it proves.
        kind: What it checks.
    """

    function: Callable[[Any], None]
    kind: Kind = LOSSES

    @property
    def name(self) -> str:
        """Its name, as exceptions and reports use it."""
        return self.function.__name__

    @property
    def proves(self) -> str:
        """The sentence that is true for a loss that passes."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def run(self, subject: SubjectLike) -> None:
        """Check one loss or head, as a test does.

        Args:
            subject: A loss: its name, its spec, its class or an instance. Or the name of a head.

        Raises:
            ConformanceError: It breaks the promise. The text says what was expected, what was found, and the fix.
            PluginError: A name is unknown, claimed twice, or what it names cannot be loaded.
            ConfigError: A parameter is wrong.
        """
        found = self.kind.find(subject)
        result = self.apply(found)
        if result.outcome == "failed":
            raise ConformanceError(f"{found.who} fails {self.name}. {result.message}") from result.error

    def apply(self, subject: Any) -> Result:
        """Check one; anything that it raises is a failure."""
        trial = self.kind.trial(subject)
        with _apart(), one_scan():  # a wrapper looks its base up whenever it is built
            try:
                self.function(trial)
            except DoesNotApply as reason:
                return Result(self, "not_applicable", str(reason), trial.comparisons)
            except ConformanceError as error:
                return Result(self, "failed", str(error), trial.comparisons, error, trial.cause)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a loss may raise anything, even SystemExit
                raised = _raised(error, subject, self.kind.word)
                return Result(self, "failed", f"{raised} {trial.advice}".rstrip(), trial.comparisons, error, raised)
        if not trial.comparisons:
            return Result(
                self,
                "failed",
                "It compared nothing, so it proves nothing. Fix: report it.",
                0,
            )
        return Result(self, "passed", " ".join(trial.remarks), trial.comparisons)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """The result of one check.

    Attributes:
        check: The check.
        outcome: How it ended.
        message: Of a failure: what was expected and found, and the fix. Of an exception or a check that does not apply:
            the reason. Of a passed check: its remarks, mostly none.
        comparisons: How many values were compared.
        error: The exception of a failure.
        cause: Equal for failures with the same reason; empty for a separate failure.
    """

    check: Check
    outcome: Outcome
    message: str
    comparisons: int
    error: BaseException | None = None
    cause: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is in order."""
        return self.outcome != "failed"


@contextmanager
def _apart() -> Iterator[None]:
    """Isolate and restore the caller's modes and random numbers."""
    dtype, python, numpy = torch.get_default_dtype(), random.getstate(), np.random.get_state()
    device = nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
    with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad(), device, warnings.catch_warnings():
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(python)
            np.random.set_state(numpy)


def _raised(error: BaseException, subject: Any, word: str) -> str:
    """Say what it raised, and where in its own package."""
    # A compiler ends its errors with pages on itself, which include the line of the loss.
    text = " ".join(re.split(r"\n\s*(?:Developer debug context|from user code)", str(error))[0].split())
    if len(text) > _LONGEST_ERROR:
        text = text[:_LONGEST_ERROR].rsplit(" ", 1)[0].rstrip(".") + " [...]"
    package = subject.cls.__module__.partition(".")[0]
    frames = [
        (frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    frames = frames or re.findall(r'File "([^"]+)", line (\d+), in (\w+)', str(error))
    who = f"The {word} raised {{1}}, at {{0[0]}}:{{0[1]}} in {{0[2]}}" if frames else "Trying it raised {1}"
    what = who.format(frames[-1] if frames else None, type(error).__name__)
    return f"{what}: {printable(text.rstrip('.!'))}."
