"""What a loss comes to under all checks: counts, exceptions, failures."""

from __future__ import annotations

from typing import Any

import pytest
from bad_losses import BAD, Sound, giou
from torch import Tensor

from detloss import ConformanceError
from detloss.loss import BoxRegressionLoss, NestedSpec
from detloss.testing import CHECKS, Report, check_loss
from detloss.testing.subject import subject_of


@pytest.fixture(scope="module")
def sound() -> Report:
    return check_loss(Sound)


@pytest.fixture(scope="module")
def infinite() -> Report:
    return check_loss(BAD["finite_value"])


def test_a_report_has_a_result_for_every_check(sound: Report):
    """Each check ran once, in order, and made at least one comparison or says why it does not apply."""
    assert [result.check for result in sound.results] == list(CHECKS)
    for result in sound.results:
        assert result.comparisons > 0 or (result.outcome == "not_applicable" and result.message)


def test_row_28_the_count_is_printed(sound: Report):
    """The last line has the number of checks and of comparisons, and how the checks ended."""
    comparisons = f"{sum(result.comparisons for result in sound.results):,}".replace(",", " ")
    *_, last = str(sound).splitlines()
    # The class is in no installed package, so that its requirement does not apply.
    assert last == f"{len(CHECKS)} checks, {comparisons} comparisons: {len(CHECKS) - 1} passed, 1 not applicable"


@pytest.mark.parametrize("broken", ["left out", "twice"])
def test_row_28_the_count_is_enforced(sound: Report, broken: str):
    """A report that lacks a check, or has one twice, is no pass, and names the check."""
    results = sound.results[1:] if broken == "left out" else (sound.results[0], *sound.results)
    report = Report(sound.who, results)
    assert all(result.ok for result in report.results)
    assert not report.passed
    assert report.missing == ("docstring",)
    assert "1 did not run once (docstring)" in report.summary
    with pytest.raises(ConformanceError, match="docstring"):
        report.raise_for_failures()


def test_an_empty_report_is_no_pass():
    """No checks at all are no pass."""
    assert not Report("giou", ()).passed


def test_failures_are_raised_together(infinite: Report, sound: Report):
    """raise_for_failures lists every failure with its message, and passes in silence."""
    assert not infinite.passed
    with pytest.raises(ConformanceError, match=r"(?s)Infinite: .* 1 failed.*finite_value: Expected a finite value"):
        infinite.raise_for_failures()
    sound.raise_for_failures()


def test_a_report_prints_every_check(infinite: Report):
    """Printed, it has a line a check: what it proves, or what is wrong."""
    first, *lines, _ = str(infinite).splitlines()
    assert first == "Infinite"
    assert len(lines) == len(CHECKS)
    assert lines[0].split() == ["ok", "docstring", *CHECKS[0].proves.split()]
    (failed,) = (line for line in lines if "FAILED" in line)
    assert "finite_value" in failed
    assert "found inf" in failed


class Averaging(BoxRegressionLoss):
    """Returns the mean over the pairs (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target).mean()


class Failing(BoxRegressionLoss):
    """Knows no box (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("no box")


@pytest.mark.parametrize("loss", [Averaging, Failing], ids=lambda loss: loss.__name__)
def test_what_fails_many_checks_is_said_once(loss: type[BoxRegressionLoss]):
    """A fault that no check can do with is described by the first check, and the others point there."""
    first, *others = check_loss(loss).failures
    assert first.check.name == "shape"
    assert first.message.startswith(("Expected 2 values for 2 pairs, found shape ()", "The loss raised RuntimeError"))
    pointing = [each.check.name for each in others if each.message == "For the same reason as `shape`."]
    assert {"batch_order", "finite_value", "gradient", "pickling"} <= set(pointing)


def test_a_report_as_data(infinite: Report):
    """As a dict it has the same, for JSON."""
    data = infinite.as_dict()
    assert (data["loss"], data["passed"], data["missing"]) == ("Infinite", False, [])
    assert data["summary"] == infinite.summary
    assert [each["check"] for each in data["results"]] == [check.name for check in CHECKS]
    failed = [each for each in data["results"] if each["outcome"] == "failed"]
    assert [(each["check"], each["proves"]) for each in failed] == [
        ("finite_value", "Every degenerate pair has a finite value.")
    ]


def test_row_28_a_declared_exception_must_fail(infinite: Report):
    """A failure that is declared with a reason is no failure; its reason is in the report."""
    reason = "Boxes without width are the point of it."
    report = check_loss(BAD["finite_value"], exceptions={"finite_value": reason})
    assert report.passed
    (excepted,) = (result for result in report.results if result.outcome == "excepted")
    assert (excepted.check.name, excepted.message) == ("finite_value", reason)
    assert "1 failed as declared" in report.summary


@pytest.mark.parametrize(("check", "found"), [("shape", "it passes"), ("requirement", "it does not apply")])
def test_row_28_an_exception_that_is_not_needed_fails(check: str, found: str):
    """An exception for a check that passes, or does not apply, fails the report: it has to go."""
    report = check_loss(Sound, exceptions={check: "It used to fail."})
    assert not report.passed
    (failure,) = report.failures
    assert failure.check.name == check
    assert failure.message == f"It is declared an exception (It used to fail.), but {found}. Fix: remove the exception."


@pytest.mark.parametrize(
    ("exceptions", "message"),
    [
        ({"shap": "why"}, "'shap', which is not a check. Did you mean 'shape'?"),
        ({"xyz": "why"}, "'xyz', which is not a check. The checks are docstring, "),
        ({"shape": ""}, "'shape' has no reason"),
        ({"shape": "  "}, "'shape' has no reason"),
        ({"shape": None}, r"'shape' has no reason \(found None\)"),
    ],
    ids=["near", "far", "empty", "blank", "None"],
)
def test_row_28_an_exception_says_which_check_and_why(exceptions: Any, message: str):
    """An exception without a reason, or for a check that does not exist, is an error before anything runs."""
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        check_loss(Sound, exceptions=exceptions)


@pytest.mark.parametrize(
    ("loss", "who"),
    [
        ("giou", "giou"),
        ("detloss-iou:giou", "giou"),
        ({"name": "alpha_iou", "alpha": 2.0}, "alpha_iou(alpha=2.0)"),
        (NestedSpec(name="giou"), "giou"),
        (Sound, "Sound"),
        (Sound(scale=2.0), "Sound(scale=2.0)"),
    ],
    ids=["name", "full name", "spec", "NestedSpec", "class", "instance"],
)
def test_a_loss_may_be_given_in_any_way(loss: Any, who: str):
    """A name, a spec, a class and an instance are checked alike, and the report names loss and parameters."""
    subject = subject_of(loss)
    assert subject.who == who
    for check in CHECKS[:12]:
        assert check.apply(subject).message in (
            "",
            "No installed package has this class, so there are no requirements.",
        )


def test_an_installed_class_is_known_by_its_name():
    """The class of an installed plugin is checked like its name, the package's requirement too."""
    from detloss import get_plugin

    report = check_loss(get_plugin("giou").cls)
    assert report.who == "giou"
    assert {result.outcome for result in report.results} == {"passed"}
