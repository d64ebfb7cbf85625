"""A check, and what comes of running it."""

from __future__ import annotations

import inspect
import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from detloss.errors import ConformanceError
from detloss.testing.subject import Subject, SubjectLike, subject_of
from detloss.testing.trial import DoesNotApply, Trial
from detloss.text import printable

Outcome = Literal["passed", "failed", "excepted", "not_applicable"]
"""``excepted``: it failed, and a declared exception says why; ``not_applicable``: the promise has no meaning for it."""

_LONGEST_ERROR = 240
"""Characters that a message quotes of an error: those of a compiler fill pages."""


@dataclass(frozen=True)
class Check:
    """One promise that every loss makes.

    Attributes:
        function: The check itself; its name is the check's, and its docstring begins with what it proves.
    """

    function: Callable[[Trial], None]

    @property
    def name(self) -> str:
        """Its name, as exceptions and reports use it."""
        return self.function.__name__

    @property
    def proves(self) -> str:
        """The sentence that holds for a loss that passes."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def run(self, loss: SubjectLike) -> None:
        """Check one loss, as a test does.

        Args:
            loss: Its name, its spec, its class or an instance.

        Raises:
            ConformanceError: The loss breaks the promise; says what was expected, what was found and what to do.
            PluginError: A name does not stand for one loss that can be loaded.
            ConfigError: A parameter is wrong.
        """
        subject = subject_of(loss)
        result = self.apply(subject)
        if result.outcome == "failed":
            raise ConformanceError(f"{subject.who} fails {self.name}. {result.message}") from result.error

    def apply(self, subject: Subject) -> Result:
        """Check one loss; whatever it raises is a failure of this check."""
        trial = Trial(subject)
        with _apart():
            try:
                self.function(trial)
            except DoesNotApply as reason:
                return Result(self, "not_applicable", str(reason), trial.comparisons)
            except ConformanceError as error:
                return Result(self, "failed", str(error), trial.comparisons, error, trial.cause)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a loss may raise anything, SystemExit included
                raised = _raised(error, trial.subject)
                return Result(self, "failed", f"{raised} {trial.advice}".rstrip(), trial.comparisons, error, raised)
        if not trial.comparisons:
            return Result(self, "failed", "It compared nothing, so it proves nothing. Tell the authors of detloss.", 0)
        return Result(self, "passed", " ".join(trial.remarks), trial.comparisons)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """What came of one check.

    Attributes:
        check: Which.
        outcome: How it ended.
        message: What was expected and found and what to do, for a failure; the reason, for an exception and for a
            promise that does not apply; what a check that passed remarks, mostly nothing.
        comparisons: How many values were compared.
        error: What a failure was raised as.
        cause: The same for failures of several checks for one reason; empty for one that stands by itself.
    """

    check: Check
    outcome: Outcome
    message: str
    comparisons: int
    error: BaseException | None = None
    cause: str = ""

    @property
    def ok(self) -> bool:
        """Whether it leaves the loss in order."""
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


def _raised(error: BaseException, subject: Subject) -> str:
    """Say what a loss raised, and where in its own package."""
    # A compiler ends its errors with pages on itself, among them the line of the loss.
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
    who = "The loss raised {1}, at {0[0]}:{0[1]} in {0[2]}" if frames else "Trying it raised {1}"
    what = who.format(frames[-1] if frames else None, type(error).__name__)
    return f"{what}: {printable(text.rstrip('.!'))}."
