"""The conformance kit, tried on losses that it must reject."""

from __future__ import annotations

import enum
import random
import threading
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from bad_losses import BAD, Sound, giou
from more_bad_losses import MORE_BAD, Leaving
from pydantic import Field, create_model
from torch import Tensor, nn

from detloss import ConformanceError, build_loss
from detloss.boxes import iou
from detloss.loss import BoxRegressionLoss, LossConfig, NestedSpec
from detloss.testing import CHECKS, Check, Report, check_loss
from detloss.testing.checks.definition import requirement_line
from detloss.testing.expecting import DoesNotApply
from detloss.testing.subject import subject_of
from detloss.testing.trial import Trial

BY_NAME = {check.name: check for check in CHECKS}
HEAVY = {"torch_compile", "training"}  # they take longer than all others together
QUICK = [check for check in CHECKS if check.name not in HEAVY]

every_bad_loss = pytest.mark.parametrize("name", BAD)


@pytest.fixture
def package_without_bounds(packages: Any) -> None:
    """An installed package with a bad loss, which requires any detloss from 0.1 on."""
    packages.add("bad-losses", losses={"undemanding": "bad_losses:Undemanding"}, requires=("detloss>=0.1",))


def rejected_by(loss: Any, checks: list[Check]) -> set[str]:
    found = set()
    for check in checks:
        try:
            check.run(loss)
        except ConformanceError:
            found.add(check.name)
    return found


def test_row_28_every_check_has_a_bad_loss():
    """There is a bad loss for every check: a new check without one fails here."""
    assert list(BAD) == [check.name for check in CHECKS]


def test_a_sound_loss_passes():
    """The loss of which the bad ones are variants passes every check."""
    report = check_loss(Sound)
    assert [result.message for result in report.failures] == []
    assert report.passed


@every_bad_loss
def test_a_bad_loss_is_rejected_by_its_check_alone(name: str, package_without_bounds: None):
    """A loss with one fault fails the check of that fault, and no other."""
    assert rejected_by(BAD[name], QUICK) == {name} - HEAVY


@pytest.mark.parametrize("loss", MORE_BAD, ids=lambda loss: loss.__name__)
def test_other_ways_to_break_a_promise_are_rejected(loss: Any):
    """A promise can be broken in less obvious ways, such as only while training; the same checks find it."""
    assert rejected_by(loss, QUICK) == MORE_BAD[loss]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(HEAVY), "gradient", "state_in_buffers", "batch_dependence", "vmap", "nan"])
def test_only_what_does_not_compile_or_train_fails_the_check_of_it(name: str):
    """Of bad losses the one that breaks the graph fails torch_compile, the one that learns nothing training, no other.

    The others are one with a backward of its own, with Python state, with a buffer, that writes in place, and plain.
    """
    assert rejected_by(BAD[name], [BY_NAME[heavy] for heavy in sorted(HEAVY)]) == {name} & HEAVY


@pytest.mark.parametrize("name", [name for name in BAD if name.startswith("config_")])
def test_row_23_a_lax_config_is_rejected(name: str):
    """A Config that converts, drops unknown keys, takes NaN or can be changed is rejected, with what it lets pass."""
    with pytest.raises(ConformanceError, match=r"Expected an error for .*, found (no error|none)\. "):
        BY_NAME[name].run(BAD[name])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Limits(LossConfig):
    low: float = 0.0


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float, 0.0),
        (int, 3),
        (bool, False),
        (Literal["a", "b"], "a"),
        (Colour, Colour.RED),
        (float | None, None),
        (Literal["auto"] | float, "auto"),
        (tuple[float, float], (0.0, 1.0)),
        (tuple[float, float] | None, None),
        (tuple[int, ...], ()),
        (list[float], [1.0]),
        (dict[str, float], {"cat": 1.0}),
        (Limits | None, None),
        (NestedSpec, NestedSpec(name="giou")),
        (tuple[NestedSpec, ...], (NestedSpec(name="giou"),)),
    ],
    ids=str,
)
def test_an_ignored_parameter_of_any_type_is_found(annotation: Any, value: Any):
    """Whatever its type, a parameter that is not read is named, beside one that is."""
    config: Any = create_model("Config", __base__=LossConfig, mode=(Literal[1, 2], 1), ignored=(annotation, value))

    class Ignoring(BoxRegressionLoss):
        Config = config

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return giou(pred, target) ** self.config.mode

    build_loss("giou")  # packages that are imported already are those whose losses are tried
    with pytest.raises(ConformanceError, match="Expected ignored to change some value"):
        BY_NAME["parameters_used"].run(Ignoring)


class Named(BoxRegressionLoss):
    """GIoU with a free text (Doe, 2024)."""

    class Config(LossConfig):
        label: str = "x"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


@pytest.mark.parametrize("loss", ["l1", Named])
def test_a_loss_without_parameters_to_change_has_none_to_ignore(loss: Any):
    """Where there are no parameters, or no other values are known, the check does not apply."""
    assert BY_NAME["parameters_used"].apply(subject_of(loss)).outcome == "not_applicable"


class Open(BoxRegressionLoss):
    """Power IoU with parameters whose bounds are closed, open and missing (Doe, 2024)."""

    class Config(LossConfig):
        closed: float = Field(1.0, ge=1, le=4)
        power: float = Field(2.0, gt=0, le=4)
        factor: float = 3.0
        least: int | None = Field(2, ge=1)
        pair: tuple[float, float] = (1.0, 1.0)
        label: str = "x"

    config: Config
    value_range: ClassVar[tuple[float, float]] = (0.0, 100.0)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        low, high = self.config.pair
        factor = self.config.factor / self.config.closed * low / high / (self.config.least or 1)
        return factor * (1 - iou(pred, target) ** self.config.power)


def test_row_44_an_open_bound_is_no_promise():
    """A parameter without a closed bound is named with what becomes of it a hundred times off; that is no failure."""
    result = BY_NAME["bounds"].apply(subject_of(Open))
    assert result.outcome == "passed"
    assert result.message == (
        "power: unbounded: no promise (0.02: not a finite gradient). "
        "factor: unbounded: no promise (0.03: sound; 300: not values in the declared range [0, 100]). "
        "least: unbounded: no promise (200: sound). "
        "pair: unbounded: no promise."
    )
    report = Report("open", (result,))
    assert f"ok      bounds  {result.message}" in str(report)
    assert report.as_dict()["results"][0]["message"] == result.message


def test_row_44_a_closed_bound_is_a_promise():
    """What fails at a closed bound is said with the parameters, and where two of them lead to it together."""
    with pytest.raises(ConformanceError, match=r"Expected a finite gradient with power=0\.5, found .*nan"):
        BY_NAME["bounds"].run(BAD["bounds"])
    with pytest.raises(ConformanceError, match=r"range \[0, 5\] with scale=2(\.0)?, offset=2(\.0)?, found"):
        BY_NAME["bounds"].run(Leaving)


@every_bad_loss
def test_a_message_says_what_was_expected_what_was_found_and_what_to_do(name: str, package_without_bounds: None):
    """A failure names the loss and the check, says what was expected and found, or where it raised, and what to do."""
    with pytest.raises(ConformanceError) as failure:
        BY_NAME[name].run(BAD[name])
    message = str(failure.value)
    who = "undemanding" if name == "requirement" else BAD[name].__name__
    assert message.startswith(f"{who} fails {name}. ")
    said = message.removeprefix(f"{who} fails {name}. ")
    if said.startswith("The loss raised "):
        assert "bad_losses.py:" in said
    else:
        assert said.startswith("Expected ")
        assert ", found " in said
    *_, advice = said.split(". ")
    assert advice.endswith(".")


def test_checks_describe_themselves():
    """Each check has a name of its own and one sentence of what it proves, and prints as its name."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert str(check) == check.name
        assert check.proves[0].isupper()
        assert check.proves.endswith(".")
        assert "\n" not in check.proves


def nothing(trial: Trial) -> None:
    """It holds."""


def test_row_28_a_check_that_compares_nothing_fails():
    """A check that made no comparison proves nothing, so it fails."""
    with pytest.raises(ConformanceError, match="It compared nothing"):
        Check(nothing).run(Sound)


def impossible(trial: Trial) -> None:
    """It holds."""
    raise DoesNotApply("It has no corners.")


def test_a_promise_that_does_not_apply_is_shown():
    """A promise without a meaning for a loss is neither a pass nor a failure, and the reason is in the report."""
    result = BY_NAME["inverted_boxes"].apply(subject_of("l1"))
    assert (result.outcome, result.comparisons, result.ok) == ("not_applicable", 0, True)
    assert result.message == "It works on deltas, which cannot be inverted."
    Check(impossible).run(Sound)


class Raising(BoxRegressionLoss):
    """Raises what its config says (Doe, 2024)."""

    class Config(LossConfig):
        error: str

    config: Config

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        raise {"SystemExit": SystemExit, "KeyError": KeyError, "KeyboardInterrupt": KeyboardInterrupt}[
            self.config.error
        ]("3")


@pytest.mark.parametrize("error", ["SystemExit", "KeyError"])
def test_whatever_a_loss_raises_is_a_failure_with_its_own_frame(error: str):
    """A loss that raises, or tries to end the program, fails the check; the message points into its forward."""
    with pytest.raises(ConformanceError, match=rf"The loss raised {error}, at .*test_checks\.py:\d+ in forward"):
        BY_NAME["shape"].run(Raising(error=error))


class Mute(BoxRegressionLoss):
    """Returns nothing (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Any:
        giou(pred, target)


class Averaging(BoxRegressionLoss):
    """Returns the mean over the pairs (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target).mean()


class Unbuildable(BoxRegressionLoss):
    """Takes no config (Doe, 2024)."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


class Unbegun(BoxRegressionLoss):
    """Forgets to begin the module (Doe, 2024)."""

    def __init__(self, config: LossConfig | None = None) -> None:
        self.scale = 2.0

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.scale * giou(pred, target)


class Ordinary(BoxRegressionLoss):
    """Takes its parameters as any other class does (Doe, 2024)."""

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target) ** self.alpha


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Mute, "Expected a tensor from forward, found None. Fix: return the values, one a pair."),
        (Averaging, "Expected 9 values for 9 pairs, found shape (). Fix: return one value a pair: "),
        (Unbuildable, "Expected Unbuildable(config) to make a loss, found TypeError: "),
        (Unbegun, "Expected Unbegun(config) to make a loss, found one without that config. "),
        (Ordinary, "Expected Ordinary(config) to make a loss, found one without that config. "),
    ],
)
def test_what_all_checks_need_is_said_by_all(loss: Any, message: str):
    """A loss that returns no tensor, reduces or cannot be built is told so by any check."""
    with pytest.raises(ConformanceError) as failure:
        BY_NAME["rows_unchanged"].run(loss)
    assert message in str(failure.value)


class Logarithmic(BoxRegressionLoss):
    """Infinite for boxes that do not overlap (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return -iou(pred, target).log()


class Single(BoxRegressionLoss):
    """GIoU in float32, whatever the boxes are (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred.float(), target.float())


def test_a_fault_is_not_blamed_on_something_else():
    """Infinite values are none of the empty batch, and lost precision is no error of the kit."""
    BY_NAME["empty"].run(Logarithmic)
    with pytest.raises(ConformanceError, match=r"Expected the gradient of finite .* if `dtype` .* start there"):
        BY_NAME["gradient"].run(Single)


def not_the_loss(trial: Trial) -> None:
    """It holds."""
    raise OSError("disk full")


def test_an_error_outside_of_the_loss_is_not_blamed_on_it():
    """An error without a frame of the loss's package is reported as what it is."""
    with pytest.raises(ConformanceError, match=r"Sound fails not_the_loss\. Trying it raised OSError: disk full\.$"):
        Check(not_the_loss).run(Sound)


def test_an_interrupt_passes():
    """A keyboard interrupt is not a fault of the loss: it ends the run."""
    with pytest.raises(KeyboardInterrupt):
        BY_NAME["shape"].run(Raising(error="KeyboardInterrupt"))


def test_a_class_without_defaults_asks_for_an_instance():
    """A class whose parameters have no defaults cannot be checked as such, and the error says what can."""
    with pytest.raises(TypeError, match=r"no usable default for error\. Fix: check an instance \(Raising\(error="):
        check_loss(Raising)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.L1Loss, r"found the class L1Loss\(_Loss\).*`class L1Loss\(BoxRegressionLoss\):`"),
        (nn.L1Loss(), "found a L1Loss"),
        (3, "found a int: 3"),
    ],
    ids=["class", "instance", "number"],
)
def test_what_is_no_loss_is_refused(loss: Any, message: str):
    """Anything but a loss is refused with what was found."""
    with pytest.raises(TypeError, match=message):
        check_loss(loss)


def test_global_state_is_left_alone():
    """Random numbers, threads, gradients and default dtype are after a run what they were before."""
    random.seed(0)
    np.random.seed(1)
    torch.manual_seed(5)

    def state() -> tuple[Any, ...]:
        torch_modes = (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype())
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            repr(np.random.get_state()),
            threading.active_count(),
            *torch_modes,
        )

    before = state()
    for check in (*QUICK, BY_NAME["training"]):
        check.run(Sound)
    assert state() == before


class Precise(BoxRegressionLoss):
    """Makes float64 the default of everybody (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return giou(pred, target)


def test_a_loss_that_changes_global_state_spoils_one_check():
    """The default dtype that a loss sets is set back after the check."""
    with pytest.raises(ConformanceError):
        BY_NAME["dtype"].run(Precise)
    assert torch.get_default_dtype() is torch.float32


class Weightless(BoxRegressionLoss):
    """GIoU that autograd does not see (Doe, 2024)."""

    @torch.no_grad()
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


@pytest.mark.parametrize("name", ["determinism", "finite_gradient", "gradient", "half_precision", "training"])
def test_values_without_a_gradient_are_called_that(name: str):
    """Where no gradient leads into the prediction, the message says so instead of quoting autograd."""
    with pytest.raises(ConformanceError, match=r"Expected .* with a gradient into the prediction, found .* without"):
        BY_NAME[name].run(Weightless)


class Misdeclared(BoxRegressionLoss):
    """Says everything in the wrong type (Doe, 2024)."""

    minimum: ClassVar[Any] = "0"
    value_range: ClassVar[Any] = ("0", None)
    invariances: ClassVar[Any] = "scale"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return giou(pred, target)


@pytest.mark.parametrize(
    ("name", "found"), [("minimum", "'0'"), ("value_range", "('0', None)"), ("invariances", "'scale'")]
)
def test_a_declaration_of_another_type_is_explained(name: str, found: str):
    """What a class declares must have the right type; the message has what to write."""
    with pytest.raises(ConformanceError) as failure:
        BY_NAME[name].run(Misdeclared)
    assert f", found {found}. Fix: write " in str(failure.value)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_the_callers_modes_do_not_matter(mode: Any):
    """Under no_grad and inference_mode the checks see the same gradients."""
    with mode():
        BY_NAME["gradient"].run(Sound)
        BY_NAME["training"].run(Sound)


def test_a_given_instance_is_not_touched():
    """Checking an instance leaves its state and mode as they are: other instances are tried."""
    loss = Sound(scale=2.0).eval()
    before = vars(loss).copy()
    for check in QUICK:
        check.run(loss)
    assert vars(loss) == before


class WithoutGradients(BoxRegressionLoss):
    """GIoU times constants that are computed in several ways (Doe, 2024)."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = giou(pred, target)
        with torch.no_grad():
            weight = loss * 2
            weight += 1
        return loss * weight * loss.detach() * loss.data


def test_constants_of_any_kind_are_held():
    """What is computed under no_grad, by detach or by data is a constant to the finite differences."""
    BY_NAME["gradient"].run(WithoutGradients)


@pytest.mark.parametrize(
    ("requires", "found"),
    [
        ((), "no requirement"),
        (("detloss",), "'detloss'"),
        (("detloss>=0.1",), "'detloss>=0.1'"),
        (("detloss<0.2",), "'detloss<0.2'"),
        (("detloss>=0.1,<0.3",), "'detloss>=0.1,<0.3'"),
        (("detloss>=0.1,!=0.2",), "'detloss>=0.1,!=0.2'"),
        (('detloss>=0.1,<0.2; extra == "x"',), "no requirement"),
    ],
    ids=str,
)
def test_a_requirement_without_both_bounds_is_refused(packages: Any, requires: tuple[str, ...], found: str):
    """A package must bound detloss from below and before the next breaking version; the message has the line."""
    packages.add("bad-losses", losses={"undemanding": "bad_losses:Undemanding"}, requires=requires)
    with pytest.raises(ConformanceError) as failure:
        BY_NAME["requirement"].run("undemanding")
    assert f", found {found}. " in str(failure.value)
    assert 'Fix: write "detloss>=0.1,<0.2" in the dependencies of bad-losses.' in str(failure.value)


@pytest.mark.parametrize("line", ["detloss>=0.1,<0.2", "detloss~=0.1.0", "DetLoss ==0.1.*", "detloss<0.1.9,>=0.0.5"])
def test_a_requirement_with_both_bounds_passes(packages: Any, line: str):
    """Any way to write both bounds will do."""
    packages.add("bad-losses", losses={"undemanding": "bad_losses:Undemanding"}, requires=("torch", line))
    BY_NAME["requirement"].run("undemanding")


@pytest.mark.parametrize(
    ("version", "line"),
    [("0.1.0", "detloss>=0.1,<0.2"), ("0.9.3.dev1", "detloss>=0.9,<0.10"), ("1.4.2", "detloss>=1.4,<2")],
)
def test_the_line_to_write(version: str, line: str):
    """Before 1.0 the next minor version may break a plugin, from then on the next major one."""
    assert requirement_line(version) == line
