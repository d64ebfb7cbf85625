from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed
import pytest

from detloss.testing import CHECKS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def infinite(packages: Any) -> None:
    """An installed package with a loss that is infinite for some boxes."""
    requires = ("detloss>=0.1,<0.2",)
    packages.add("bad-losses", losses={"infinite": "bad_losses:Infinite"}, requires=requires)


def test_a_loss_that_passes(run_detloss: Run):
    """A sound loss is a table of every check and the count, and exit status 0."""
    code, out, err = run_detloss("check", "giou")
    assert (code, err) == (0, "")
    for check in CHECKS:
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [check.name])
        assert line.split()[1] == "passed"
    assert out.rstrip().endswith(f"{len(CHECKS)} passed")


def test_a_loss_that_fails(run_detloss: Run, infinite: None):
    """A failed check shows its message, its name comes again at the end, and the exit status is 1."""
    code, out, _ = run_detloss("check", "infinite")
    assert code == 1
    (line,) = (line for line in out.splitlines() if "FAILED" in line)
    assert line.startswith("finite_value")
    assert "found inf in 'pred a point'" in line
    # The loss has no parameters that it could ignore.
    assert out.splitlines()[-2].endswith("1 failed, 2 not applicable")
    assert out.splitlines()[-1] == "Failed: finite_value"


def test_json(run_detloss: Run, infinite: None):
    """With --json the report is the whole of stdout, and the exit status tells the outcome."""
    code, out, _ = run_detloss("check", "bad-losses:infinite", "--json")
    report = json.loads(out)
    assert (code, report["loss"], report["passed"]) == (1, "infinite", False)
    assert [each["check"] for each in report["results"]] == [check.name for check in CHECKS]


def test_json_stays_clean(run_detloss: Run, packages: Any):
    """What a loss prints goes to stderr, and the JSON stays whole."""
    module = """
        from bad_losses import giou
        from detloss.loss import BoxRegressionLoss

        print("imported")

        class Chatty(BoxRegressionLoss):
            "GIoU that talks (Doe, 2024)."

            def __init__(self, config=None, **params):
                super().__init__(config, **params)
                print("made")

            def forward(self, pred, target):
                return giou(pred, target)
    """
    requires = ("detloss>=0.1,<0.2",)
    packages.add("chatty", losses={"chatty": "chatty:Chatty"}, modules={"chatty.py": module}, requires=requires)
    code, out, err = run_detloss("check", "chatty", "--json")
    assert (code, json.loads(out)["passed"]) == (0, True), out
    assert "imported" in err
    assert "made" in err


RAW = """
import os
from bad_losses import giou
from detloss.loss import BoxRegressionLoss

class Raw(BoxRegressionLoss):
    "GIoU that writes past Python's stdout (Doe, 2024)."

    def forward(self, pred, target):
        os.write(1, b"raw")
        return giou(pred, target)
"""

INTERRUPT = """
from bad_losses import giou
from detloss.loss import BoxRegressionLoss

class Endless(BoxRegressionLoss):
    "GIoU that takes too long to wait for (Doe, 2024)."

    def forward(self, pred, target):
        raise KeyboardInterrupt
"""


def in_a_process(packages: Any, module: str, name: str) -> subprocess.CompletedProcess[str]:
    requires = ("detloss>=0.1,<0.2",)
    target = f"talker:{name}"
    packages.add("talker", losses={"talker": target}, modules={"talker.py": module}, requires=requires)
    support = str(Path(__file__).parents[1] / "support")
    path = os.pathsep.join([str(packages.folder), support])
    return killed.python("-m", "detloss", "check", "talker", "--json", PYTHONPATH=path)


def test_json_stays_clean_of_what_libraries_print(packages: Any):
    """What is written to the file descriptor, as C libraries do, goes to stderr too."""
    ended = in_a_process(packages, RAW, "Raw")
    assert json.loads(ended.stdout)["loss"] == "talker"
    assert "rawraw" in ended.stderr


def test_an_interrupt_names_the_check(packages: Any):
    """Whoever gives up waiting is told which check of which loss did not end."""
    ended = in_a_process(packages, INTERRUPT, "Endless")
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "Interrupted in the check shape of talker.\n"


def test_parameters_are_set_as_in_a_config(run_detloss: Run):
    """--set gives the loss parameters, nested ones too, and the report names them."""
    _, out, _ = run_detloss("check", "inner", "--set", "base=ciou", "--set", "ratio=1.25", "--json")
    assert json.loads(out)["loss"] == "inner(base={'name': 'ciou'}, ratio=1.25)"


def test_a_wrong_parameter_is_named(run_detloss: Run):
    """A mistyped parameter is an error with the near name, of the option: there is no config."""
    code, _, err = run_detloss("check", "inner", "--set", "ration=1.25")
    assert code == 1
    assert err == "Error: 1 error in --set:\n  --set: ration: unknown key; did you mean 'ratio'?\n"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eps", "A parameter is KEY=VALUE, found 'eps'."),
        ("weight=2", "'weight' is not a parameter of a loss"),
        ("name=ciou", "'name' is not a parameter of a loss"),
    ],
)
def test_what_is_no_parameter_is_wrong_usage(run_detloss: Run, override: str, message: str):
    """--set takes parameters alone: a slip, or a key that belongs to a config, ends with 2 before anything runs."""
    code, out, err = run_detloss("check", "giou", "--set", override)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


def test_an_exception_needs_a_reason_and_a_failure(run_detloss: Run, infinite: None):
    """--except turns the failure that it names into an excepted check; without need of it, it fails."""
    code, out, _ = run_detloss("check", "infinite", "--except", "finite_value=The paper has it so.")
    (line,) = (line for line in out.splitlines() if line.startswith("finite_value"))
    assert (code, line.split()[1]) == (0, "excepted")
    assert "The paper has it so." in line
    code, out, _ = run_detloss("check", "giou", "--except", "finite_value=The paper has it so.")
    assert code == 1
    assert "but it passes. Fix: remove the exception." in out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("finite_value", "An exception is CHECK=REASON, found 'finite_value'"),
        ("finite_value=", "has no reason"),
        ("finite_valeu=why", "Did you mean 'finite_value'?"),
    ],
)
def test_a_wrong_exception_is_wrong_usage(run_detloss: Run, option: str, message: str):
    """An exception without a reason, or for no check, ends with 2 before anything runs."""
    code, out, err = run_detloss("check", "giou", "--except", option)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


def test_an_unknown_loss(run_detloss: Run):
    """An unknown name is an error with near names."""
    code, out, err = run_detloss("check", "giuo")
    assert (code, out) == (1, "")
    assert "Did you mean 'giou'?" in err


def test_no_loss_is_wrong_usage(run_detloss: Run):
    """Without a loss the command says what it takes."""
    code, _, err = run_detloss("check")
    assert code == 2
    assert "--list" in err


def test_list(run_detloss: Run):
    """--list shows every check with what it proves, and needs no loss."""
    code, out, _ = run_detloss("check", "--list")
    assert code == 0
    for check in CHECKS:
        assert any(line.split() == [check.name, *check.proves.split()] for line in out.splitlines())
    assert out.rstrip().endswith(f"{len(CHECKS)} checks")
    _, out, _ = run_detloss("check", "--list", "--json")
    assert json.loads(out) == [{"check": check.name, "proves": check.proves} for check in CHECKS]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a closed stream is a thing of POSIX shells")
def test_a_closed_stderr_is_no_fault() -> None:
    """Where the shell has closed stderr, on which progress is shown, the result is printed all the same."""
    command = f"{sys.executable} -m detloss check l1 --json 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["passed"] is True
