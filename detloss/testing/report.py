"""The results of all checks of one loss."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from detloss.errors import ConformanceError
from detloss.testing.check import Check, Outcome, Result
from detloss.testing.checks import CHECKS
from detloss.testing.head_checks import HEAD_CHECKS
from detloss.testing.head_trial import HeadSubject, head_subject_of
from detloss.testing.subject import Subject, SubjectLike, subject_of
from detloss.text import near

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Report:
    """The results of all checks of one subject; prints as table.

    Attributes:
        who: The loss, with the parameters that are not the defaults, or the head.
        results: One for each of `checks`, in that order.
        checks: All that must run.
    """

    who: str
    results: tuple[Result, ...]
    checks: tuple[Check, ...] = CHECKS

    @property
    def passed(self) -> bool:
        """Whether every check ran, and none failed."""
        return not self.missing and all(result.ok for result in self.results)

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that failed."""
        return tuple(result for result in self.results if not result.ok)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of checks that did not run exactly once."""
        ran = Counter(result.check.name for result in self.results)
        return tuple(check.name for check in self.checks if ran[check.name] != 1)

    @property
    def summary(self) -> str:
        """How many checks and comparisons were made, and how they ended."""
        outcomes = Counter(result.outcome for result in self.results)
        ended = [f"{count} {words}" for outcome, words in _ENDED.items() if (count := outcomes[outcome])]
        ended += [f"{len(self.missing)} did not run once ({', '.join(self.missing)})"] if self.missing else []
        comparisons = f"{sum(result.comparisons for result in self.results):,}".replace(",", " ")
        return f"{len(self.results)} checks, {comparisons} comparisons: {', '.join(ended)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the report as data that JSON can hold."""
        return {
            self.checks[0].kind.word: self.who,
            "passed": self.passed,
            "summary": self.summary,
            "missing": list(self.missing),
            "results": [
                {"check": result.check.name, "proves": result.check.proves}
                | {name: getattr(result, name) for name in ("outcome", "message", "comparisons")}
                for result in self.results
            ],
        }

    def raise_for_failures(self) -> None:
        """Raise all failures in one error.

        Raises:
            ConformanceError: A check failed or did not run.
        """
        if self.passed:
            return
        lines = [f"  {result.check.name}: {result.message}" for result in self.failures]
        raise ConformanceError("\n".join([f"{self.who}: {self.summary}", *lines]))

    def __str__(self) -> str:
        width = max((len(result.check.name) for result in self.results), default=0)
        lines = [
            f"  {_MARKS[result.outcome]:8}{result.check.name:{width}}  {result.message or result.check.proves}"
            for result in self.results
        ]
        return "\n".join([self.who, *lines, self.summary])


def check_loss(loss: SubjectLike, exceptions: Mapping[str, str] = _NONE) -> Report:
    """Run all checks on one loss.

    Args:
        loss: Its name, its spec, its class or an instance. A given instance is not used; new ones are built.
        exceptions: Check -> why this loss cannot pass it. Such a check must fail; if it passes, the report fails.

    Raises:
        PluginError: A name is unknown, claimed twice, or its loss cannot be loaded.
        ConfigError: A parameter is wrong.
        ValueError: An exception names no check or gives no reason.
    """
    subject = subject_of(loss)
    return Report(subject.who, tuple(results(subject, exceptions)))


def check_head(head: str, exceptions: Mapping[str, str] = _NONE) -> Report:
    """Run all checks on one head adapter.

    Args:
        head: Its name, or ``package:name``.
        exceptions: As of `check_loss`.

    Raises:
        PluginError: The name is unknown, claimed twice, or its adapter cannot be loaded.
        ConformanceError: The adapter gives no example to check it with.
        ValueError: An exception names no check or gives no reason.
    """
    subject = head_subject_of(head)
    return Report(subject.who, tuple(results(subject, exceptions, HEAD_CHECKS)), HEAD_CHECKS)


def results(
    subject: Subject | HeadSubject,
    exceptions: Mapping[str, str] = _NONE,
    checks: tuple[Check, ...] = CHECKS,
) -> Iterator[Result]:
    """Yield each result; only the first explains a common failure."""
    check_exceptions(exceptions, checks)
    told: dict[str, str] = {}
    for check in checks:
        result = check.apply(subject)
        if check.name in exceptions:
            yield _excepted(result, exceptions[check.name])
        elif result.cause and (first := told.setdefault(result.cause, check.name)) != check.name:
            yield replace(result, message=f"For the same reason as `{first}`.")
        else:
            yield result


def check_exceptions(exceptions: Mapping[str, str], checks: tuple[Check, ...] = CHECKS) -> None:
    """Refuse exceptions that say nothing.

    Raises:
        ValueError: One names no check or gives no reason.
    """
    names = [check.name for check in checks]
    for name, reason in exceptions.items():
        if name not in names:
            close = near(name, names)
            advice = f"Did you mean {close!r}?" if close else f"The checks are {', '.join(names)}."
            raise ValueError(f"An exception is declared for {name!r}, which is not a check. {advice}")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(
                f"The exception for {name!r} has no reason (found {reason!r}). Fix: say why it cannot pass."
            )


def _excepted(result: Result, reason: str) -> Result:
    if result.outcome == "failed":
        return Result(result.check, "excepted", reason, result.comparisons, result.error)
    found = "it passes" if result.outcome == "passed" else "it does not apply"
    message = f"It is declared an exception ({reason}), but {found}. Fix: remove the exception."
    return Result(result.check, "failed", message, result.comparisons)


_ENDED: Mapping[Outcome, str] = {
    "passed": "passed",
    "failed": "failed",
    "excepted": "failed as declared",
    "not_applicable": "not applicable",
}
_MARKS: Mapping[Outcome, str] = {"passed": "ok", "failed": "FAILED", "excepted": "except", "not_applicable": "n/a"}
